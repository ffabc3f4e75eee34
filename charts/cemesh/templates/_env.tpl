{{/*
The environment of a component's container: `root`, `component`. What is given beside goes before what is ours: no
name may be there twice.
*/}}
{{- define "cemesh.env.all" -}}
{{- $own := (index .root.Values.components .component).extraEnv | default list -}}
{{- $env := list -}}
{{- range $given := list (include "cemesh.env" . | fromYamlArray) .root.Values.pod.extraEnv $own -}}
{{- $names := list -}}
{{- range $given }}{{ $names = append $names .name }}{{ end -}}
{{- $kept := list -}}
{{- range $env }}{{ if not (has .name $names) }}{{ $kept = append $kept . }}{{ end }}{{ end -}}
{{- $env = concat $kept $given -}}
{{- end -}}
{{- toYaml $env -}}
{{- end -}}

{{/* What of it is ours. */}}
{{- define "cemesh.env" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
{{- $taker := eq .component (include "cemesh.taker" $root) -}}
{{- $deliverer := eq .component (include "cemesh.deliverer" $root) -}}
- name: CEMESH_ADMIN_HOST
  value: {{ $values.listen | quote }}
- name: CEMESH_ADMIN_PORT
  value: "8081"
{{- if $taker }}
- name: CEMESH_HOST
  value: {{ $values.listen | quote }}
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
{{- with include "cemesh.channel.env" $root }}
{{ . }}
{{- end }}
- name: CEMESH_CLUSTER_DOMAIN
  value: {{ $values.clusterDomain | quote }}
{{- with $values.options.resolve }}
- name: CEMESH_RESOLVE
  value: {{ join " " . | quote }}
{{- end }}
{{- if $deliverer }}
{{- include "cemesh.env.delivery" $root }}
{{- end }}
{{- if or $taker $deliverer }}
- name: CEMESH_DRAIN_TIMEOUT
  value: {{ printf "%vs" $values.options.drainTimeoutSeconds | quote }}
{{- end }}
- name: CEMESH_STORIES_DIR
  value: /var/lib/cemesh/stories
- name: CEMESH_STORIES_AGE
  value: {{ $values.stories.age | quote }}
- name: CEMESH_STORIES_SIZE
  value: {{ $values.stories.size | quote }}
- name: CEMESH_STORIES_SAMPLE
  value: {{ $values.stories.sample | quote }}
- name: CEMESH_LOG_FORMAT
  value: {{ $values.options.logFormat }}
- name: CEMESH_LOG_LEVEL
  value: {{ $values.options.logLevel }}
{{- if $values.auditLog.enabled }}
# A file for each pod: several may share a volume.
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: CEMESH_AUDIT_LOG
  value: /var/log/cemesh/$(POD_NAME).jsonl
{{- end }}
{{- if eq $values.mode "split" }}
# `cemesh event` in any pod asks all of them.
- name: CEMESH_ADMIN_ALSO
  value: {{ include "cemesh.fullname" $root }}-parts.{{ $root.Release.Namespace }}.svc:8081
{{- end }}
{{- include "cemesh.env.tls" . }}
{{- include "cemesh.env.kubernetes" . }}
{{- end -}}

{{/* What deliveries are given. */}}
{{- define "cemesh.env.delivery" -}}
{{- $services := list (printf "*.svc.%s" .Values.clusterDomain) -}}
{{- with concat (.Values.options.allowServices | ternary $services list) .Values.options.allowDestination }}
- name: CEMESH_ALLOW_DESTINATION
  value: {{ join " " . | quote }}
{{- end }}
{{- with .Values.proxy }}
{{- if .existingSecret.name }}
- name: CEMESH_PROXY
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret.name }}
      key: {{ .existingSecret.key }}
{{- else if .url }}
- name: CEMESH_PROXY
  value: {{ .url | quote }}
{{- end }}
{{- if or .url .existingSecret.name }}
- name: CEMESH_NO_PROXY
  value: {{ join " " (concat $services .noProxy) | quote }}
{{- end }}
{{- end }}
{{- if include "cemesh.trust" . }}
- name: CEMESH_CA_CERTS
  value: /etc/cemesh/trust/{{ .Values.trust.key }}
{{- end }}
{{- end -}}

{{/* The certificates of the mesh's own ports: `root`, `component`. */}}
{{- define "cemesh.env.tls" -}}
{{- with .root.Values.tls }}
{{- if and .secretName (eq $.component (include "cemesh.taker" $.root)) }}
- name: CEMESH_TLS_CERT
  value: /etc/cemesh/tls/tls.crt
- name: CEMESH_TLS_KEY
  value: /etc/cemesh/tls/tls.key
{{- end }}
{{- if .adminSecretName }}
- name: CEMESH_ADMIN_TLS_CERT
  value: /etc/cemesh/admin-tls/tls.crt
- name: CEMESH_ADMIN_TLS_KEY
  value: /etc/cemesh/admin-tls/tls.key
{{- end }}
{{- end }}
{{- end -}}

{{/* The options that read the objects of the cluster: `root`, `component`. */}}
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
{{- if .trust }}
- name: CEMESH_KUBERNETES_TRUST
  value: "true"
{{- end }}
- name: CEMESH_KUBERNETES_ADDRESS
  value: {{ include "cemesh.address" $.root }}
- name: CEMESH_KUBERNETES_LEASE
  value: {{ include "cemesh.fullname" $.root }}-{{ $.component }}
{{- end }}
{{- end }}
{{- end -}}
