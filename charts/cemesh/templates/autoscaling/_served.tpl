{{/*
Fail where helm talks to a cluster that does not have the kind: `root`, `versions` of which one will do, as
GROUP/VERSION/KIND, the `value` that asks for it, and `whose` it is. Every API server serves apiregistration.k8s.io;
what `helm template` supposes without one does not have it.
*/}}
{{- define "cemesh.served" -}}
{{- $root := .root -}}
{{- if $root.Capabilities.APIVersions.Has "apiregistration.k8s.io/v1" -}}
{{- $found := false -}}
{{- range .versions }}{{ if $root.Capabilities.APIVersions.Has . }}{{ $found = true }}{{ end }}{{ end -}}
{{- if not $found -}}
{{- fail (printf "%s: this cluster has no %s: install %s first" .value (join " or " .versions) .whose) -}}
{{- end -}}
{{- end -}}
{{- end -}}
