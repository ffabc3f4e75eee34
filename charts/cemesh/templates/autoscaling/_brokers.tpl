{{/* The brokers whose topics are watched, each as NAMESPACE/NAME, as a JSON list. */}}
{{- define "cemesh.keda.brokers" -}}
{{- $brokers := .Values.keda.kafka.brokers -}}
{{- if not $brokers -}}
{{- range $text := include "cemesh.files" . | fromYaml -}}
{{- range regexSplit "(?m)^---" $text -1 -}}
{{- $object := fromYaml . -}}
{{- if and (eq (toString $object.kind) "Broker") (include "cemesh.keda.onKafka" $object) -}}
{{- $brokers = append $brokers (printf "%s/%s" ($object.metadata.namespace | default "default") $object.metadata.name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $brokers -}}
{{- end -}}

{{/* Not empty where a Broker is on the channel of the values, as far as its class says so. */}}
{{- define "cemesh.keda.onKafka" -}}
{{- $class := get (.metadata.annotations | default dict) "eventing.knative.dev/broker.class" -}}
{{- if has $class (list "" "Kafka" "KafkaNamespaced" "cemesh") -}}yes{{- end -}}
{{- end -}}

{{/* What a template of Knative's makes of a broker: `root`, `broker`, `key` of the channel's settings, `default`. */}}
{{- define "cemesh.keda.named" -}}
{{- $template := get .root.Values.channel.kafka.config .key | default .default -}}
{{- $parts := splitList "/" .broker -}}
{{- $template = regexReplaceAll "{{\\s*\\.Namespace\\s*}}" $template (first $parts) -}}
{{- regexReplaceAll "{{\\s*\\.Name\\s*}}" $template (last $parts) -}}
{{- end -}}
