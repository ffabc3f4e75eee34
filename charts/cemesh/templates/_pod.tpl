{{/* The template of a component's pods: `root`, `component`. */}}
{{- define "cemesh.pod" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
{{- $own := index $values.components .component -}}
{{- $taker := eq .component (include "cemesh.taker" $root) -}}
metadata:
  # Not the chart's version: a change of it alone is no reason to start pods anew.
  labels:
    {{- $selector := merge (dict "app.kubernetes.io/component" .component) (include "cemesh.selector" $root | fromYaml) }}
    {{- merge $selector ($own.labels | default dict) $values.pod.labels $values.commonLabels | toYaml | nindent 4 }}
  annotations:
    {{- $annotations := dict "kubectl.kubernetes.io/default-container" "cemesh" }}
    {{- /* A variable is not watched, as files are. So little of the sum says nothing of a password. */}}
    {{- if include "cemesh.channel.made" $root }}
    {{- $_ := set $annotations "checksum/channel" ($values.channel.url | sha256sum | trunc 8) }}
    {{- end }}
    {{- merge $annotations ($own.annotations | default dict) $values.pod.annotations $values.commonAnnotations | toYaml | nindent 4 }}
spec:
  serviceAccountName: {{ include "cemesh.serviceAccount" . }}
  automountServiceAccountToken: {{ or $values.kubernetes.enabled $values.serviceAccount.automount }}
  enableServiceLinks: false
  # What is under way is given its time, and there is time left to let go of the channel.
  terminationGracePeriodSeconds: {{ add $values.options.drainTimeoutSeconds ($own.preStopSeconds | default 0) 15 }}
  {{- with concat $values.global.imagePullSecrets $values.image.pullSecrets | uniq }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- include "cemesh.placing" . | nindent 2 }}
  {{- with $values.pod.dnsConfig }}
  dnsConfig:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.pod.hostAliases }}
  hostAliases:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml $values.pod.securityContext | nindent 4 }}
  containers:
    - name: cemesh
      image: {{ include "cemesh.image" $root }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: [{{ eq .component "mesh" | ternary "run" .component }}]
      env:
        {{- include "cemesh.env.all" . | nindent 8 }}
      {{- with concat $values.pod.extraEnvFrom ($own.extraEnvFrom | default list) }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
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
      {{- if $own.preStopSeconds }}
      # Requests go on coming until every node knows that the pod is to stop.
      lifecycle:
        preStop:
          sleep:
            seconds: {{ $own.preStopSeconds }}
      {{- end }}
      volumeMounts:
        {{- include "cemesh.mounts" . | nindent 8 }}
  volumes:
    {{- include "cemesh.volumes" . | nindent 4 }}
{{- end -}}

{{/* Alive is who answers; ready is whose channels take events. */}}
{{- define "cemesh.probes" -}}
{{- $scheme := empty .Values.tls.adminSecretName | ternary "HTTP" "HTTPS" -}}
startupProbe:
  httpGet: {path: /healthz, port: admin, scheme: {{ $scheme }}}
  {{- toYaml .Values.probes.startup | nindent 2 }}
readinessProbe:
  httpGet: {path: /readyz, port: admin, scheme: {{ $scheme }}}
  {{- toYaml .Values.probes.readiness | nindent 2 }}
livenessProbe:
  httpGet: {path: /healthz, port: admin, scheme: {{ $scheme }}}
  {{- toYaml .Values.probes.liveness | nindent 2 }}
{{- end -}}

{{/* Where a component's pods run: `root`, `component`. */}}
{{- define "cemesh.placing" -}}
{{- $pod := .root.Values.pod -}}
{{- $own := index .root.Values.components .component -}}
{{- $placing := dict -}}
{{- with $own.priorityClassName | default $pod.priorityClassName }}{{ $_ := set $placing "priorityClassName" . }}{{ end -}}
{{- with merge (dict) ($own.nodeSelector | default dict) $pod.nodeSelector }}{{ $_ := set $placing "nodeSelector" . }}{{ end -}}
{{- with concat $pod.tolerations ($own.tolerations | default list) }}{{ $_ := set $placing "tolerations" . }}{{ end -}}
{{- with merge (dict) ($own.affinity | default dict) $pod.affinity }}{{ $_ := set $placing "affinity" . }}{{ end -}}
{{- if eq .root.Values.mode "split" -}}
{{- $selector := merge (dict "app.kubernetes.io/component" .component) (include "cemesh.selector" .root | fromYaml) -}}
{{- $spread := list -}}
{{- range concat $pod.topologySpreadConstraints ($own.topologySpreadConstraints | default list) -}}
{{- $spread = append $spread (merge (dict) . (dict "labelSelector" (dict "matchLabels" $selector))) -}}
{{- end -}}
{{- with $spread }}{{ $_ := set $placing "topologySpreadConstraints" . }}{{ end -}}
{{- end -}}
{{- with $placing }}{{ toYaml . }}{{ end -}}
{{- end -}}
