{{- define "supreme.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "supreme.fullname" -}}
{{- $name := include "supreme.name" . }}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- /* What is made of it gets an ending of up to 15 characters. */}}
{{- .Values.fullnameOverride | default $full | trunc 48 | trimSuffix "-" }}
{{- end }}

{{- define "supreme.selectorLabels" -}}
app.kubernetes.io/name: {{ include "supreme.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "supreme.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: supreme
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "supreme.selectorLabels" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Of the pod of `helm test`, which is no operator to a Service. */}}
{{- define "supreme.testLabels" -}}
app.kubernetes.io/name: {{ include "supreme.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end }}

{{- define "supreme.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "supreme.fullname" .) "default") }}
{{- end }}

{{- /* Also where `helm upgrade --reuse-values` brings values of a chart that did not have it. */}}
{{- define "supreme.fixedUser" -}}
{{- ne (toString .Values.fixedUser) "false" }}
{{- end }}

{{- define "supreme.podSecurityContext" -}}
{{- $context := .Values.podSecurityContext }}
{{- if eq (include "supreme.fixedUser" .) "false" }}
{{- $context = omit $context "runAsUser" "runAsGroup" "fsGroup" }}
{{- end }}
{{- if $context }}{{ toYaml $context }}{{ end }}
{{- end }}

{{- define "supreme.leaseName" -}}
{{- .Values.leaderElection.name | default (include "supreme.fullname" .) }}
{{- end }}

{{- define "supreme.leaseNamespace" -}}
{{- .Values.leaderElection.namespace | default .Release.Namespace }}
{{- end }}

{{- /* Takes image, one of values, and version, the tag where it has none. */}}
{{- define "supreme.image" -}}
{{- with .image.registry }}{{ . }}/{{ end }}{{ .image.repository }}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .version }}{{ end }}
{{- end }}

{{- define "supreme.operatorImage" -}}
{{- if not .Values.image.repository }}
{{- fail "image.repository is empty: build the operator's image as docs/container-images.md says, and name it, as in --set image.registry=registry.example,image.repository=supreme-operator" }}
{{- end }}
{{- include "supreme.image" (dict "image" .Values.image "version" .Chart.AppVersion) }}
{{- end }}

{{- /* The settings that have values of their own, by the names that the operator gives them. */}}
{{- define "supreme.settings" -}}
{{- $settings := dict
  "namespaces" (join "," .Values.namespaces)
  "storageUri" .Values.storage.uri
  "storageEndpoint" .Values.storage.endpoint
  "storageRegion" .Values.storage.region
  "storageSecret" .Values.storage.secretName
  "allowedEndpoints" (join "," .Values.storage.allowedEndpoints)
  "allowedStores" (join "," .Values.storage.allowedStores)
  "allowOwnNamespace" .Values.allowOwnNamespace
  "allowedLabels" (join "," .Values.trainer.allowedLabels)
  "allowedAnnotations" (join "," .Values.trainer.allowedAnnotations)
  "allowedEnv" (join "," .Values.trainer.allowedEnv)
  "allowedMountPaths" (join "," .Values.trainer.allowedMountPaths)
  "allowedPriorityClasses" (join "," .Values.trainer.allowedPriorityClasses)
  "readSecrets" .Values.readSecrets
  "fixedUser" (include "supreme.fixedUser" . | eq "true")
  "port" .Values.port }}
{{- with .Values.trainer.image }}
{{- if .repository }}
{{- $_ := set $settings "image" (include "supreme.image" (dict "image" . "version" $.Chart.AppVersion)) }}
{{- else if or .registry .tag .digest }}
{{- fail "trainer.image.repository is empty, but trainer.image has a registry, a tag or a digest: build the trainer's image as docs/container-images.md says, and name it, as in --set trainer.image.registry=registry.example,trainer.image.repository=supreme-trainer, or give none of them, so that each experiment has to name its image" }}
{{- end }}
{{- end }}
{{- if .Values.leaderElection.enabled }}
{{- $_ := set $settings "leaderElection" true }}
{{- $_ := set $settings "leaseName" (include "supreme.leaseName" .) }}
{{- $_ := set $settings "leaseNamespace" (include "supreme.leaseNamespace" .) }}
{{- end }}
{{- toYaml (merge $settings .Values.settings) }}
{{- end }}
