{{- define "finetune.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 53 | trimSuffix "-" }}
{{- end }}

{{- /* Names leave room for the longest suffix within 63 characters. */}}
{{- define "finetune.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride }}
{{- else }}
{{- $name := include "finetune.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 45 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 45 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Call with (dict "root" $ "component" "operator"). */}}
{{- define "finetune.selectorLabels" -}}
app.kubernetes.io/name: {{ include "finetune.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- /* Without versions, so that an upgrade restarts only what it changes. */}}
{{- define "finetune.podLabels" -}}
{{ include "finetune.selectorLabels" . }}
app.kubernetes.io/part-of: finetune-operator
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "finetune.labels" -}}
{{ include "finetune.selectorLabels" . }}
app.kubernetes.io/part-of: finetune-operator
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Call with (dict "root" $ "image" .Values.image). */}}
{{- define "finetune.image" -}}
{{- $registry := default (dig "imageRegistry" "" (.root.Values.global | default dict)) .image.registry }}
{{- with $registry }}{{ trimSuffix "/" . }}/{{ end }}
{{- .image.repository }}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ default .root.Chart.AppVersion .image.tag }}{{ end }}
{{- end }}

{{- define "finetune.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "finetune.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* Namespaces served in Namespaced mode, as a JSON list. */}}
{{- define "finetune.namespaces" -}}
{{- .Values.scope.namespaces | default (list .Release.Namespace) | toJson }}
{{- end }}

{{- /* Namespaces in which the chart itself grants reading Secrets, as a JSON list. */}}
{{- define "finetune.secretNamespaces" -}}
{{- if eq .Values.scope.mode "Cluster" }}
{{- .Values.secretAccess.namespaces | toJson }}
{{- else }}
{{- include "finetune.namespaces" . }}
{{- end }}
{{- end }}

{{- define "finetune.trackerURL" -}}
{{- printf "http://%s-tracker.%s.svc:%d" (include "finetune.fullname" .) .Release.Namespace (int .Values.tracker.service.port) }}
{{- end }}

{{- define "finetune.trackerSecret" -}}
{{- default (printf "%s-tracker" (include "finetune.fullname" .)) .Values.tracker.apiKey.existingSecret }}
{{- end }}

{{- define "finetune.wandbBaseURL" -}}
{{- if .Values.wandb.baseURL }}
{{- .Values.wandb.baseURL }}
{{- else if .Values.tracker.enabled }}
{{- include "finetune.trackerURL" . }}
{{- end }}
{{- end }}

{{- /* Port of the W&B server of the values, which the NetworkPolicy must let through. */}}
{{- define "finetune.wandbPort" -}}
{{- $url := urlParse .Values.wandb.baseURL }}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary "80" "443" (eq $url.scheme "http")) }}
{{- end }}

{{- define "finetune.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Call with the values that hold the scheduling keys. */}}
{{- define "finetune.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}
