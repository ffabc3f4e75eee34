{{/* The template of a component's pods: `root`, `component`. */}}
{{- define "cemesh.pod" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
{{- $own := index $values.components .component -}}
{{- $taker := eq .component (include "cemesh.taker" $root) -}}
metadata:
  # Not the chart's version: a change of it alone is no reason to start pods anew.
  labels:
    {{- with merge (dict) $values.pod.labels $values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- include "cemesh.selector" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
  annotations:
    kubectl.kubernetes.io/default-container: cemesh
    {{- with $values.pod.annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "cemesh.serviceAccount" . }}
  automountServiceAccountToken: {{ $values.kubernetes.enabled }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add $values.options.drainTimeoutSeconds 15 }}
  {{- with concat $values.global.imagePullSecrets $values.image.pullSecrets | uniq }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with $values.pod.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    {{- toYaml $values.pod.securityContext | nindent 4 }}
  containers:
    - name: cemesh
      image: {{ include "cemesh.image" $root }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: [{{ eq .component "mesh" | ternary "run" .component }}]
      env:
        {{- include "cemesh.env" . | nindent 8 }}
      ports:
        {{- if $taker }}
        - name: http
          containerPort: 8080
        {{- end }}
        - name: admin
          containerPort: 8081
      securityContext:
        {{- toYaml $values.pod.containerSecurityContext | nindent 8 }}
      resources:
        {{- toYaml $own.resources | nindent 8 }}
      {{- include "cemesh.probes" $root | nindent 6 }}
      volumeMounts:
        {{- include "cemesh.mounts" . | nindent 8 }}
  volumes:
    {{- include "cemesh.volumes" . | nindent 4 }}
{{- end -}}

{{/* A start may read a long log and connect to a channel: it has two minutes. */}}
{{- define "cemesh.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: admin}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /healthz, port: admin}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end -}}
