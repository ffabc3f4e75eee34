{{/* The files of `manifests` as a YAML map of name to text; where nothing else says what the mesh is, one broker. */}}
{{- define "cemesh.files" -}}
{{- $files := dict -}}
{{- range $name, $content := .Values.manifests -}}
{{- if kindIs "string" $content -}}
{{- $_ := set $files $name $content -}}
{{- else if kindIs "slice" $content -}}
{{- $texts := list -}}
{{- range $content }}{{ $texts = append $texts (toYaml .) }}{{ end -}}
{{- $_ := set $files $name (join "\n---\n" $texts) -}}
{{- else if $content -}}
{{- $_ := set $files $name (toYaml $content) -}}
{{- end -}}
{{- end -}}
{{- if not (or $files .Values.manifestsFrom.configMaps .Values.manifestsFrom.secrets .Values.kubernetes.enabled) -}}
{{- $_ := set $files "default.yaml" (toYaml (dict
  "apiVersion" "eventing.knative.dev/v1"
  "kind" "Broker"
  "metadata" (dict "name" "default" "namespace" "default"))) -}}
{{- end -}}
{{- toYaml $files -}}
{{- end -}}

{{/* Those with a Secret in them, or with `secret` false those without: `root`, `secret`. */}}
{{- define "cemesh.files.of" -}}
{{- $secret := .secret -}}
{{- $files := dict -}}
{{- range $name, $text := include "cemesh.files" .root | fromYaml -}}
{{- if eq $secret (regexMatch "[\"']?kind[\"']?\\s*:\\s*[\"']?Secret\\b" $text) }}{{ $_ := set $files $name $text }}{{ end -}}
{{- end -}}
{{- toYaml $files -}}
{{- end -}}

{{- define "cemesh.files.secret" -}}{{ include "cemesh.files.of" (dict "root" . "secret" true) }}{{- end -}}
{{- define "cemesh.files.plain" -}}{{ include "cemesh.files.of" (dict "root" . "secret" false) }}{{- end -}}

{{/* Not empty where there is any manifest. */}}
{{- define "cemesh.manifests" -}}
{{- if or (include "cemesh.files" . | fromYaml) .Values.manifestsFrom.configMaps .Values.manifestsFrom.secrets -}}yes{{- end -}}
{{- end -}}
