{{/* What a component's container mounts, and the volumes of its pod: `root`, `component`. */}}
{{- define "cemesh.mounts" -}}
- name: tmp
  mountPath: /tmp
- name: data
  mountPath: /var/lib/cemesh
{{- with include "cemesh.files" .root | fromYaml }}
- name: manifests
  mountPath: /etc/cemesh/manifests/values
  readOnly: true
{{- end }}
{{- range .root.Values.manifestsFrom.configMaps }}
- name: configmap-{{ . | replace "." "-" | trunc 50 }}
  mountPath: /etc/cemesh/manifests/configmap-{{ . }}
  readOnly: true
{{- end }}
{{- range .root.Values.manifestsFrom.secrets }}
- name: secret-{{ . | replace "." "-" | trunc 50 }}
  mountPath: /etc/cemesh/manifests/secret-{{ . }}
  readOnly: true
{{- end }}
{{- end -}}

{{- define "cemesh.volumes" -}}
{{- $root := .root -}}
- name: tmp
  emptyDir: {}
{{- if eq .component "mesh" }}
{{- with $root.Values.persistence }}
{{- if .existingClaim }}
- name: data
  persistentVolumeClaim:
    claimName: {{ .existingClaim }}
{{- else if not .enabled }}
- name: data
  emptyDir: {}
{{- end }}
{{- end }}
{{- else }}
- name: data
  emptyDir: {}
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
{{- range $root.Values.manifestsFrom.configMaps }}
- name: configmap-{{ . | replace "." "-" | trunc 50 }}
  configMap:
    name: {{ . }}
{{- end }}
{{- range $root.Values.manifestsFrom.secrets }}
- name: secret-{{ . | replace "." "-" | trunc 50 }}
  secret:
    secretName: {{ . }}
{{- end }}
{{- end -}}
