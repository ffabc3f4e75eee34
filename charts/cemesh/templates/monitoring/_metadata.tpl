{{/* The `metadata` of what others find by `labels`: `root`, `labels`, and where given `name`, `annotations`, `namespace`. */}}
{{- define "cemesh.monitoring.metadata" -}}
{{- $name := .name | default (include "cemesh.fullname" .root) -}}
{{- $given := dict "root" .root "name" $name "annotations" .annotations "namespace" .namespace -}}
{{- $metadata := include "cemesh.metadata" $given | fromYaml -}}
{{- $_ := set $metadata "labels" (merge (dict) .labels $metadata.labels) -}}
{{- toYaml $metadata -}}
{{- end -}}
