{{/* The environment of a component's container: `root`, `component`. */}}
{{- define "cemesh.env" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
{{- $taker := eq .component (include "cemesh.taker" $root) -}}
- name: CEMESH_ADMIN_HOST
  value: "0.0.0.0"
- name: CEMESH_ADMIN_PORT
  value: "8081"
{{- if $taker }}
- name: CEMESH_HOST
  value: "0.0.0.0"
- name: CEMESH_PORT
  value: "8080"
- name: CEMESH_MAX_EVENT_SIZE
  value: {{ $values.options.maxEventSize | quote }}
{{- end }}
{{- if eq .component "mesh" }}
- name: CEMESH_DATA_DIR
  value: /var/lib/cemesh
- name: CEMESH_RETENTION_AGE
  value: {{ $values.options.retentionAge | quote }}
- name: CEMESH_RETENTION_SIZE
  value: {{ $values.options.retentionSize | quote }}
- name: CEMESH_WORKERS
  value: {{ $values.options.workers | quote }}
{{- end }}
{{- if include "cemesh.manifests" $root }}
- name: CEMESH_PATHS
  value: /etc/cemesh/manifests
{{- end }}
{{- with include "cemesh.channelSecret" $root | fromYaml }}
- name: CEMESH_CHANNEL
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .key }}
{{- end }}
{{- with $values.options.resolve }}
- name: CEMESH_RESOLVE
  value: {{ join " " . | quote }}
{{- end }}
{{- if ne .component "sources" }}
{{- with $values.options.allowDestination }}
- name: CEMESH_ALLOW_DESTINATION
  value: {{ join " " . | quote }}
{{- end }}
- name: CEMESH_DRAIN_TIMEOUT
  value: {{ printf "%vs" $values.options.drainTimeoutSeconds | quote }}
{{- end }}
- name: CEMESH_LOG_FORMAT
  value: {{ $values.options.logFormat }}
- name: CEMESH_LOG_LEVEL
  value: {{ $values.options.logLevel }}
{{- if eq $values.mode "split" }}
# `cemesh event` in any pod asks all of them.
- name: CEMESH_ADMIN_ALSO
  value: {{ printf "%s-parts.%s.svc:8081" (include "cemesh.fullname" $root) $root.Release.Namespace }}
{{- end }}
{{- include "cemesh.env.kubernetes" . }}
{{- end -}}

{{/* The options that read the objects of the cluster. */}}
{{- define "cemesh.env.kubernetes" -}}
{{- with .root.Values.kubernetes }}
{{- if .enabled }}
- name: CEMESH_KUBERNETES
  value: "true"
{{- with .namespaces }}
- name: CEMESH_KUBERNETES_NAMESPACE
  value: {{ join " " . | quote }}
{{- end }}
{{- with .classes }}
- name: CEMESH_KUBERNETES_CLASS
  value: {{ join " " . | quote }}
{{- end }}
{{- with .leave }}
- name: CEMESH_KUBERNETES_LEAVE
  value: {{ join " " . | quote }}
{{- end }}
- name: CEMESH_KUBERNETES_ADDRESS
  value: {{ include "cemesh.address" $.root }}
- name: CEMESH_KUBERNETES_LEASE
  value: {{ include "cemesh.fullname" $.root }}-{{ $.component }}
{{- end }}
{{- end }}
{{- end -}}
