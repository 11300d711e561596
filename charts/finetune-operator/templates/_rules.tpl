{{- /* What the operator calls, and nothing else: each verb has its reason. Secrets are apart, see rbac.yaml. */}}
{{- define "finetune.operatorRules" -}}
- apiGroups: [finetune.dev]
  resources: [finetunejobs, sweepruns]
  verbs: [list, watch]
- apiGroups: [finetune.dev]
  resources: [sweepruns]
  verbs: [patch]  # the finalizer, by which a deleted sweep is ended in W&B
- apiGroups: [finetune.dev]
  resources: [finetunejobs/status, sweepruns/status]
  verbs: [patch]
- apiGroups: [finetune.dev]
  resources: [finetunejobs/finalizers, sweepruns/finalizers]
  verbs: [update]  # owner references that block deletion, where OwnerReferencesPermissionEnforcement is on (OpenShift)
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]  # termination messages; why a pod does not start
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create, patch]  # the trial document, the best configuration
- apiGroups: [""]
  resources: [services]
  verbs: [get, create]  # rendezvous of a training on several nodes
- apiGroups: [""]
  resources: [events]
  verbs: [list, create]  # list: why the Job controller cannot create a pod
{{- if eq .Values.scope.mode "Cluster" }}
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [list, watch]  # CRDs that are installed or changed later
{{- end }}
{{- end }}

{{- define "finetune.leaseRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "finetune.fullname" . }}]
  verbs: [get, update]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]  # a name cannot limit it
{{- end }}

{{- define "finetune.secretRules" -}}
- apiGroups: [""]
  resources: [secrets]
  {{- with .Values.secretAccess.names }}
  resourceNames:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  verbs: [get]
{{- end }}

{{- define "finetune.cleanupRules" -}}
- apiGroups: [finetune.dev]
  resources: [finetunejobs, sweepruns]
  verbs: [list, patch{{ if not .Values.crds.keep }}, delete{{ end }}]
{{- end }}

{{- /* Grants rules: in every namespace served a Role, or one ClusterRole.
Call with (dict "root" $ "name" ... "component" ... "rules" ... "serviceAccount" ... "annotations" dict). */}}
{{- define "finetune.grant" -}}
{{- $root := .root }}
{{- $cluster := eq $root.Values.scope.mode "Cluster" }}
{{- $namespaces := include "finetune.namespaces" $root | fromJsonArray }}
{{- if $cluster }}{{ $namespaces = list "" }}{{ end }}
{{- range $namespace := $namespaces }}
{{- $metadata := dict "name" $.name "labels" (include "finetune.labels" $ | fromYaml) }}
{{- if not $cluster }}{{ $_ := set $metadata "namespace" $namespace }}{{ end }}
{{- with $.annotations }}{{ $_ := set $metadata "annotations" . }}{{ end }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ if $cluster }}ClusterRole{{ else }}Role{{ end }}
metadata:
  {{- toYaml $metadata | nindent 2 }}
rules:
  {{- $.rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ if $cluster }}ClusterRoleBinding{{ else }}RoleBinding{{ end }}
metadata:
  {{- toYaml $metadata | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ if $cluster }}ClusterRole{{ else }}Role{{ end }}
  name: {{ $.name }}
subjects:
  - kind: ServiceAccount
    name: {{ $.serviceAccount }}
    namespace: {{ $root.Release.Namespace }}
{{- end }}
{{- end }}
