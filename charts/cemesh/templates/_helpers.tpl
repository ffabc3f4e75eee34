{{/* The chart's name, as objects are labelled with it. */}}
{{- define "cemesh.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* What the names of all objects begin with. 40 characters leave room for what is put behind: 63 are allowed. */}}
{{- define "cemesh.fullname" -}}
{{- $name := include "cemesh.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The labels that pods are selected by. They can never be changed: a StatefulSet's selector is fixed. */}}
{{- define "cemesh.selector" -}}
app.kubernetes.io/name: {{ include "cemesh.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Those of the pod that `helm test` runs: no Service may lead to it. */}}
{{- define "cemesh.selector.test" -}}
app.kubernetes.io/name: {{ include "cemesh.name" . }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The labels of every object. */}}
{{- define "cemesh.labels" -}}
{{- $labels := dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/version" (.Chart.AppVersion | replace "+" "_")
  "app.kubernetes.io/part-of" "cemesh"
  "app.kubernetes.io/managed-by" .Release.Service -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.commonLabels) $labels (include "cemesh.selector" . | fromYaml)) -}}
{{- end -}}

{{/*
The `metadata` of an object: `root`, `name`, and where given a `component`, `annotations`, and a `namespace`
other than the release's, or `cluster` for what is in none.
*/}}
{{- define "cemesh.metadata" -}}
name: {{ .name }}
{{- if not .cluster }}
namespace: {{ .namespace | default .root.Release.Namespace }}
{{- end }}
labels:
  {{- $component := empty .component | ternary dict (dict "app.kubernetes.io/component" .component) }}
  {{- merge $component (include "cemesh.labels" .root | fromYaml) | toYaml | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The components that this mode has, as a JSON list. */}}
{{- define "cemesh.components" -}}
{{- eq .Values.mode "single" | ternary (list "mesh") (list "ingress" "dispatcher" "sources") | toJson -}}
{{- end -}}

{{/* The component that takes events, and the one that knows what becomes of them. */}}
{{- define "cemesh.taker" -}}{{- eq .Values.mode "single" | ternary "mesh" "ingress" -}}{{- end -}}
{{- define "cemesh.deliverer" -}}{{- eq .Values.mode "single" | ternary "mesh" "dispatcher" -}}{{- end -}}

{{- define "cemesh.image" -}}
{{- $registry := .Values.global.imageRegistry | default .Values.image.registry -}}
{{- with $registry -}}{{ . }}/{{- end -}}
{{- .Values.image.repository -}}
{{- if .Values.image.digest -}}@{{ .Values.image.digest }}{{- else -}}:{{ .Values.image.tag | default .Chart.AppVersion }}{{- end -}}
{{- end -}}

{{/* The name of the ServiceAccount of a component: `root`, `component`. */}}
{{- define "cemesh.serviceAccount" -}}
{{- if .root.Values.serviceAccount.create -}}
{{- include "cemesh.fullname" .root }}-{{ .component -}}
{{- else -}}
{{- .root.Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* The port of the data port's Service. */}}
{{- define "cemesh.servicePort" -}}
{{- empty .Values.tls.secretName | ternary .Values.service.port .Values.service.tlsPort -}}
{{- end -}}

{{/* Where the data port is reached within the cluster. */}}
{{- define "cemesh.address" -}}
{{- $port := include "cemesh.servicePort" . | int -}}
{{- $scheme := empty .Values.tls.secretName | ternary "http" "https" -}}
{{- $usual := eq $port (eq $scheme "http" | ternary 80 443) -}}
{{ $scheme }}://{{ include "cemesh.fullname" . }}-ingress.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}{{ if not $usual }}:{{ $port }}{{ end }}
{{- end -}}

{{/* Not empty where something else decides how many pods a component has: `root`, `component`. */}}
{{- define "cemesh.scaled" -}}
{{- $values := .root.Values -}}
{{- if and (eq .component "ingress") (dig "enabled" false ($values.autoscaling | default dict)) -}}yes{{- end -}}
{{- if and (eq .component "dispatcher") (dig "enabled" false ($values.keda | default dict)) -}}yes{{- end -}}
{{- end -}}
