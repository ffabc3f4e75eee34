{{/*
What a component may do in the namespaces whose objects it reads, as a list of rules: `root`, `component`. All
read what the mesh is described by. A status is written by the component that knows it.
*/}}
{{- define "cemesh.rules" -}}
{{- $kubernetes := .root.Values.kubernetes -}}
{{- $kinds := .root.Files.Get "files/kinds.yaml" | fromYaml -}}
{{- $rules := list -}}
{{- if $kubernetes.enabled -}}
{{- $rules = concat (include "cemesh.rules.core" .root | fromYamlArray) .root.Values.rbac.addressRules -}}
{{- $sorts := get (dict
  "mesh" (list "broker" "trigger" "config" "policy" "source" "sink")
  "ingress" (list "broker")
  "dispatcher" (list "trigger" "config" "policy" "sink")
  "sources" (list "source")) .component -}}
{{- $read := dict -}}
{{- $written := dict -}}
{{- range $kinds.kinds -}}
{{- if not (has .kind $kubernetes.leave) -}}
{{- $_ := set $read .group (append (get $read .group | default list) .plural) -}}
{{- if and .status (has .sort $sorts) -}}
{{- $_ := set $written .group (append (get $written .group | default list) (printf "%s/status" .plural)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $group, $resources := $read -}}
{{- $rules = append $rules (dict "apiGroups" (list $group) "resources" $resources "verbs" (list "get" "list" "watch")) -}}
{{- end -}}
{{- range $group, $resources := $written -}}
{{- $rules = append $rules (dict "apiGroups" (list $group) "resources" $resources "verbs" (list "get" "patch" "update")) -}}
{{- end -}}
{{- end -}}
{{- if has .component (list "mesh" "sources") -}}
{{- if and $kubernetes.enabled (not (has "ContainerSource" $kubernetes.leave)) -}}
{{/* The pods of ContainerSources, which are their owners: some clusters ask for the second right then. */}}
{{- $rules = append $rules (dict "apiGroups" (list "apps") "resources" (list "deployments")
  "verbs" (list "get" "list" "watch" "create" "update" "patch" "delete")) -}}
{{- $rules = append $rules (dict "apiGroups" (list "sources.knative.dev") "resources" (list "containersources/finalizers")
  "verbs" (list "update")) -}}
{{- end -}}
{{- $rules = concat $rules .root.Values.rbac.sourcesRules -}}
{{- end -}}
{{- toYaml $rules -}}
{{- end -}}

{{/* What objects of the mesh refer to. */}}
{{- define "cemesh.rules.core" -}}
- apiGroups: [""]
  resources: [configmaps, services]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch]
  {{- with .Values.kubernetes.secrets }}
  resourceNames: {{ toJson . }}
  {{- end }}
{{- end -}}
