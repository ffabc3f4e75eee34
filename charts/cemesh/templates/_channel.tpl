{{/* The Secret, `name` and `key`, that has the channel's URL; nothing where none has. */}}
{{- define "cemesh.channel.secret" -}}
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

{{/* How many channels the values give. */}}
{{- define "cemesh.channel.count" -}}
{{- with .Values.channel -}}
{{- list .kafka.bootstrapServers .rabbitmq.host .url .existingSecret.name | compact | len -}}
{{- end -}}
{{- end -}}

{{/* The port of `channel.rabbitmq`. */}}
{{- define "cemesh.channel.rabbitmqPort" -}}
{{- with .Values.channel.rabbitmq -}}
{{- .port | default (.tls | ternary 5671 5672) -}}
{{- end -}}
{{- end -}}

{{/* The variables that say what the channel is: passwords come from Secrets. */}}
{{- define "cemesh.channel.env" -}}
{{- with include "cemesh.channel.secret" . | fromYaml -}}
- name: CEMESH_CHANNEL
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .key }}
{{- end -}}
{{- with .Values.channel.kafka -}}
{{- if .bootstrapServers -}}
{{- $query := list -}}
{{- range $key, $value := .config -}}
{{- /* As JSON, a large number is not 6.048e+08. */ -}}
{{- $text := kindIs "string" $value | ternary $value (toJson $value) -}}
{{- $query = append $query (printf "%s=%s" (urlquery $key) (urlquery $text)) -}}
{{- end -}}
- name: CEMESH_CHANNEL
  value: {{ printf "kafka://%s%s%s" (join "," .bootstrapServers) (empty $query | ternary "" "?") (join "&" $query) | quote }}
{{- end -}}
{{- end -}}
{{- with .Values.channel.rabbitmq -}}
{{- if .host -}}
{{- if .userSecret.name -}}
- name: RABBITMQ_USER
  valueFrom:
    secretKeyRef:
      name: {{ .userSecret.name }}
      key: {{ .userSecret.userKey }}
- name: RABBITMQ_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ .userSecret.name }}
      key: {{ .userSecret.passwordKey }}
{{ end -}}
- name: CEMESH_CHANNEL
  value: {{ printf "%s://%s%s:%s/%s?queueType=%s"
      (.tls | ternary "amqps" "amqp")
      (empty .userSecret.name | ternary "" "$(RABBITMQ_USER):$(RABBITMQ_PASSWORD)@")
      .host
      (include "cemesh.channel.rabbitmqPort" $)
      (eq .vhost "/" | ternary "" (urlquery .vhost | replace "+" "%20"))
      .queueType | quote }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Not empty where the release makes a Secret for the URL. */}}
{{- define "cemesh.channel.made" -}}
{{- if and .Values.channel.url (not .Values.channel.existingSecret.name) -}}yes{{- end -}}
{{- end -}}
