{{/* The Secret, `name` and `key`, that has the channel's URL; nothing where there is none. */}}
{{- define "cemesh.channelSecret" -}}
{{- with .Values.channel -}}
{{- if .existingSecret.name -}}
name: {{ .existingSecret.name }}
key: {{ .existingSecret.key }}
{{- else if .url -}}
name: {{ include "cemesh.fullname" $ }}-channel
key: url
{{- end -}}
{{- end -}}
{{- end -}}
