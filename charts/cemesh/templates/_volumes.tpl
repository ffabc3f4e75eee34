{{/* What a component's container mounts: `root`, `component`. */}}
{{- define "cemesh.mounts" -}}
{{- $values := .root.Values -}}
- name: tmp
  mountPath: /tmp
- name: data
  mountPath: /var/lib/cemesh
{{- if $values.auditLog.enabled }}
- name: audit
  mountPath: /var/log/cemesh
{{- end }}
{{- if include "cemesh.files" .root | fromYaml }}
- name: manifests
  mountPath: /etc/cemesh/manifests/values
  readOnly: true
{{- end }}
{{- range $values.manifestsFrom.configMaps }}
- name: {{ include "cemesh.volumeName" (printf "configmap-%s" .) }}
  mountPath: /etc/cemesh/manifests/configmap-{{ . }}
  readOnly: true
{{- end }}
{{- range $values.manifestsFrom.secrets }}
- name: {{ include "cemesh.volumeName" (printf "secret-%s" .) }}
  mountPath: /etc/cemesh/manifests/secret-{{ . }}
  readOnly: true
{{- end }}
{{- if and $values.tls.secretName (eq .component (include "cemesh.taker" .root)) }}
- name: tls
  mountPath: /etc/cemesh/tls
  readOnly: true
{{- end }}
{{- if $values.tls.adminSecretName }}
- name: admin-tls
  mountPath: /etc/cemesh/admin-tls
  readOnly: true
{{- end }}
{{- if and (include "cemesh.trust" .root) (eq .component (include "cemesh.deliverer" .root)) }}
- name: trust
  mountPath: /etc/cemesh/trust
  readOnly: true
{{- end }}
{{- with concat $values.pod.extraVolumeMounts ((index $values.components .component).extraVolumeMounts | default list) }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The volumes of its pod. Files of ConfigMaps and Secrets are mounted as folders, so that changes come through. */}}
{{- define "cemesh.volumes" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
- name: tmp
  emptyDir: {}
{{- include "cemesh.volumes.data" . }}
{{- if $values.auditLog.enabled }}
- name: audit
  {{- toYaml ($values.auditLog.volume | default (dict "emptyDir" dict)) | nindent 2 }}
{{- end }}
{{- if include "cemesh.files" $root | fromYaml }}
- name: manifests
  projected:
    sources:
      {{- if include "cemesh.files.plain" $root | fromYaml }}
      - configMap:
          name: {{ include "cemesh.fullname" $root }}-manifests
      {{- end }}
      {{- if include "cemesh.files.secret" $root | fromYaml }}
      - secret:
          name: {{ include "cemesh.fullname" $root }}-manifests
      {{- end }}
{{- end }}
{{- range $values.manifestsFrom.configMaps }}
- name: {{ include "cemesh.volumeName" (printf "configmap-%s" .) }}
  configMap:
    name: {{ . }}
{{- end }}
{{- range $values.manifestsFrom.secrets }}
- name: {{ include "cemesh.volumeName" (printf "secret-%s" .) }}
  secret:
    secretName: {{ . }}
{{- end }}
{{- if and $values.tls.secretName (eq .component (include "cemesh.taker" $root)) }}
- name: tls
  secret:
    secretName: {{ $values.tls.secretName }}
{{- end }}
{{- if $values.tls.adminSecretName }}
- name: admin-tls
  secret:
    secretName: {{ $values.tls.adminSecretName }}
{{- end }}
{{- if and (include "cemesh.trust" $root) (eq .component (include "cemesh.deliverer" $root)) }}
- name: trust
  {{- include "cemesh.trust" $root | nindent 2 }}
{{- end }}
{{- with concat $values.pod.extraVolumes ((index $values.components .component).extraVolumes | default list) }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The volume of /var/lib/cemesh, unless the StatefulSet makes a claim for it: events, or just stories. */}}
{{- define "cemesh.volumes.data" -}}
{{- with .root.Values.persistence }}
{{- if ne $.component "mesh" }}
- name: data
  emptyDir:
    sizeLimit: {{ $.root.Values.stories.volumeSize }}
{{- else if .existingClaim }}
- name: data
  persistentVolumeClaim:
    claimName: {{ .existingClaim }}
{{- else if not .enabled }}
- name: data
  emptyDir: {}
{{- end }}
{{- end }}
{{- end -}}

{{/* The volume with certificate authorities; nothing where there are none. */}}
{{- define "cemesh.trust" -}}
{{- with .Values.trust -}}
{{- if .configMap -}}
configMap:
  name: {{ .configMap }}
{{- else if .secret -}}
secret:
  secretName: {{ .secret }}
{{- else if .pem -}}
configMap:
  name: {{ include "cemesh.fullname" $ }}-trust
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The name of a volume for what may be called longer, or with dots. */}}
{{- define "cemesh.volumeName" -}}
{{- if or (gt (len .) 63) (contains "." .) -}}
{{- printf "%s-%s" (. | replace "." "-" | trunc 54 | trimSuffix "-") (. | sha256sum | trunc 8) -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}
