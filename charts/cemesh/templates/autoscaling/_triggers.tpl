{{/* What KEDA looks at for the channel of the values, as a list of a ScaledObject's `triggers`. */}}
{{- define "cemesh.keda.triggers" -}}
{{- if .Values.channel.kafka.bootstrapServers -}}
{{- include "cemesh.keda.kafka" . -}}
{{- else if .Values.channel.rabbitmq.host -}}
{{- include "cemesh.keda.rabbitmq" . -}}
{{- end -}}
{{- end -}}

{{/* A count that keeps a dispatcher running, and asks for no second one. */}}
{{- define "cemesh.keda.never" -}}1000000000{{- end -}}

{{- define "cemesh.keda.kafka" -}}
{{- range $broker := include "cemesh.keda.brokers" . | fromJsonArray }}
{{- $group := include "cemesh.keda.named" (dict "root" $ "broker" $broker "key" "triggers.consumergroup.template" "default" "knative-trigger-{{ .Namespace }}-{{ .Name }}") }}
{{- $topic := include "cemesh.keda.named" (dict "root" $ "broker" $broker "key" "brokers.topic.template" "default" "knative-broker-{{ .Namespace }}-{{ .Name }}") }}
# What no dispatcher has taken in hand yet, which more of them would do sooner.
- type: kafka
  metadata:
    {{- include "cemesh.keda.group" (dict "root" $ "group" $group "lag" $.Values.keda.kafka.lag) | nindent 4 }}
    topic: {{ $topic | quote }}
  {{- include "cemesh.keda.authenticationRef" $ | nindent 2 }}
{{- if $.Values.keda.scaleToZero }}
# All that is not done, in all topics of the broker: in hand, waiting for its next attempt, for a trigger to go on.
- type: kafka
  metadata:
    {{- include "cemesh.keda.group" (dict "root" $ "group" (printf "%s/undone" $group) "lag" (include "cemesh.keda.never" $)) | nindent 4 }}
  {{- include "cemesh.keda.authenticationRef" $ | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* How far a consumer group is behind: `root`, `group`, and the `lag` that is a pod's work. */}}
{{- define "cemesh.keda.group" -}}
bootstrapServers: {{ join "," .root.Values.channel.kafka.bootstrapServers | quote }}
consumerGroup: {{ .group | quote }}
lagThreshold: {{ .lag | quote }}
{{- with .root.Values.keda.kafka.authentication }}
{{- if .secretName }}
sasl: {{ .sasl }}
tls: {{ .tls | ternary "enable" "disable" }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "cemesh.keda.rabbitmq" -}}
{{- $keda := .Values.keda -}}
# What no dispatcher has taken in hand yet, which more of them would do sooner.
- type: rabbitmq
  metadata:
    {{- include "cemesh.keda.queues" (dict "root" . "queues" "^t\\." "ready" true "value" $keda.rabbitmq.length) | nindent 4 }}
  {{- include "cemesh.keda.authenticationRef" . | nindent 2 }}
{{- if $keda.scaleToZero }}
# All that is not done: in hand, waiting for its next attempt, taken out by a policy.
- type: rabbitmq
  metadata:
    {{- include "cemesh.keda.queues" (dict "root" . "queues" "^(t\\.|b\\.[^#]*#(wait-|returned$))" "ready" false "value" (include "cemesh.keda.never" .)) | nindent 4 }}
  {{- include "cemesh.keda.authenticationRef" . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* How long the queues are together, by the management API: `root`, `queues`, `ready`, `value`. */}}
{{- define "cemesh.keda.queues" -}}
{{- $rabbitmq := .root.Values.channel.rabbitmq -}}
{{- $usual := printf "%s://%s:%d/" ($rabbitmq.tls | ternary "https" "http") $rabbitmq.host ($rabbitmq.tls | ternary 15671 15672) -}}
protocol: http
host: {{ .root.Values.keda.rabbitmq.managementUrl | default $usual | quote }}
vhostName: {{ $rabbitmq.vhost | quote }}
queueName: {{ .queues | squote }}
useRegex: "true"
# The most that RabbitMQ lists at a time. KEDA refuses to leave any out.
pageSize: "500"
operation: sum
excludeUnacknowledged: {{ .ready | quote }}
mode: QueueLength
value: {{ .value | quote }}
activationValue: "0"
{{- end -}}

{{/* How KEDA gets in, where somebody asks. */}}
{{- define "cemesh.keda.authenticationRef" -}}
{{- if include "cemesh.keda.authentication" . -}}
authenticationRef:
  name: {{ include "cemesh.fullname" . }}-channel
{{- end -}}
{{- end -}}

{{/* What KEDA is given of the channel's Secret, as a TriggerAuthentication's `secretTargetRef`. */}}
{{- define "cemesh.keda.authentication" -}}
{{- with .Values.channel -}}
{{- if .kafka.bootstrapServers -}}
{{- with $.Values.keda.kafka.authentication -}}
{{- if .secretName -}}
{{- $keys := dict -}}
{{- if ne .sasl "none" }}{{ $keys = merge $keys (dict "username" "user" "password" "password") }}{{ end -}}
{{- if .ca }}{{ $_ := set $keys "ca" "ca.crt" }}{{ end -}}
{{- if .certificate }}{{ $keys = merge $keys (dict "cert" "user.crt" "key" "user.key") }}{{ end -}}
{{- range $parameter, $key := $keys }}
- parameter: {{ $parameter }}
  name: {{ $.Values.keda.kafka.authentication.secretName }}
  key: {{ $key }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- else if and .rabbitmq.host .rabbitmq.userSecret.name -}}
{{- with .rabbitmq.userSecret }}
- parameter: username
  name: {{ .name }}
  key: {{ .userKey }}
- parameter: password
  name: {{ .name }}
  key: {{ .passwordKey }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
