{{/* What a component may connect to, as rules of a NetworkPolicy: `root`, `component`. */}}
{{- define "cemesh.egress" -}}
{{- $values := .root.Values -}}
{{- $egress := $values.networkPolicy.egress -}}
{{- $parts := dict
  "ports" (list (dict "protocol" "TCP" "port" "admin"))
  "to" (list (dict "podSelector" (dict "matchLabels" (include "cemesh.selector" .root | fromYaml)))) -}}
{{- $rules := concat (list $parts) $egress.dns $egress.all -}}
{{- if or $values.kubernetes.enabled $values.serviceAccount.automount -}}
{{- $rules = concat $rules $egress.apiServer -}}
{{- end -}}
{{- $rules = concat $rules ($egress.channel | default (include "cemesh.egress.channel" .root | fromYamlArray)) -}}
{{- if eq .component (include "cemesh.deliverer" .root) -}}
{{- $rules = concat $rules $egress.subscribers -}}
{{- end -}}
{{- if has .component (list "mesh" "sources") -}}
{{- $rules = concat $rules $egress.sources -}}
{{- end -}}
{{- toYaml $rules -}}
{{- end -}}

{{/* The ports of the channel, as far as the values tell them, and otherwise the usual ones. */}}
{{- define "cemesh.egress.channel" -}}
{{- $ports := list -}}
{{- with .Values.channel -}}
{{- if .kafka.bootstrapServers -}}
{{- range .kafka.bootstrapServers }}{{ $ports = append $ports (regexFind "[0-9]+$" . | int) }}{{ end -}}
{{- else if .rabbitmq.host -}}
{{- $ports = list (include "cemesh.channel.rabbitmqPort" $ | int) -}}
{{- else if or .url .existingSecret.name -}}
{{- $ports = list 9092 9093 5672 5671 -}}
{{- end -}}
{{- end -}}
{{- $rules := list -}}
{{- with $ports | uniq -}}
{{- $listed := list -}}
{{- range . }}{{ $listed = append $listed (dict "protocol" "TCP" "port" .) }}{{ end -}}
{{- $rules = list (dict "ports" $listed) -}}
{{- end -}}
{{- toYaml $rules -}}
{{- end -}}
