{{- define "portcullis.name" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "portcullis.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "portcullis.name" .) "default" .Values.serviceAccount.create) -}}
{{- end }}

{{- /* What selects the pods of a release, and never changes. */ -}}
{{- define "portcullis.selector" -}}
app.kubernetes.io/name: portcullis
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: gateway
{{- end }}

{{- define "portcullis.labels" -}}
app.kubernetes.io/name: portcullis
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "portcullis.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- /* Durations of Go's kind, as whole seconds: 15s, 5m, 1h. */ -}}
{{- define "portcullis.seconds" -}}
{{- $number := trimSuffix "s" (trimSuffix "m" (trimSuffix "h" .)) | int -}}
{{- if hasSuffix "h" . -}}{{ mul $number 3600 }}
{{- else if hasSuffix "m" . -}}{{ mul $number 60 }}
{{- else -}}{{ $number }}{{- end -}}
{{- end }}

{{- /* Whether the addresses of nodes are what the status of Ingresses tells. */ -}}
{{- define "portcullis.asksNodes" -}}
{{- if .Values.publish.addresses -}}false
{{- else if .Values.service.enabled -}}{{ eq .Values.service.type "NodePort" }}
{{- else -}}{{ .Values.hostNetwork }}{{- end -}}
{{- end }}

{{- define "portcullis.ticketKeys" -}}
{{ include "portcullis.name" . }}-ticket-keys
{{- end }}

{{- define "portcullis.lease" -}}
{{ include "portcullis.name" . }}-leader
{{- end }}

{{- /* The addresses of a port, one line each. */ -}}
{{- define "portcullis.addresses" -}}
{{- $port := .port | int -}}
{{- range .families }}
{{- if eq . "IPv6" }}
[::]:{{ $port }}
{{- else }}
0.0.0.0:{{ $port }}
{{- end }}
{{- end }}
{{- end }}

{{- /* What routes are made of, in one namespace or in all. */ -}}
{{- define "portcullis.routeRules" -}}
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [get, list, watch]
- apiGroups: [networking.k8s.io]
  resources: [ingresses/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{- define "portcullis.secretRules" -}}
- apiGroups: [""]
  resources: [secrets]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [list, watch]
{{- end }}

{{- define "portcullis.subjects" -}}
- kind: ServiceAccount
  name: {{ include "portcullis.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{- /* The arguments of the program. Those under `settings` come last. */ -}}
{{- define "portcullis.args" -}}
- run
{{- range $name := list "http" "https" }}
{{- $port := ternary (index $.Values.ports $name) (index (dict "http" 8080 "https" 8443) $name) $.Values.hostNetwork }}
{{- range splitList "\n" (include "portcullis.addresses" (dict "families" $.Values.ipFamilies "port" $port) | trim) }}
- --{{ $name }}={{ . }}
{{- end }}
{{- end }}
{{- if .Values.hostNetwork }}
- --admin=127.0.0.1:9090
{{- else }}
{{- range splitList "\n" (include "portcullis.addresses" (dict "families" .Values.ipFamilies "port" 9090) | trim) }}
- --admin={{ . }}
{{- end }}
- --public-http-port={{ .Values.ports.http }}
- --public-https-port={{ .Values.ports.https }}
{{- end }}
- --drain-delay={{ .Values.drain.delay }}
- --drain-timeout={{ .Values.drain.timeout }}
{{- if .Values.publish.addresses }}
{{- range .Values.publish.addresses }}
- --publish-address={{ . }}
{{- end }}
{{- else if .Values.service.enabled }}
- --publish-service=$(POD_NAMESPACE)/{{ include "portcullis.name" . }}
{{- else if .Values.hostNetwork }}
- --publish-nodes={{ include "portcullis.selector" . | replace ": " "=" | replace "\n" "," }}
{{- end }}
{{- range .Values.watch.namespaces }}
- --watch-namespace={{ . }}
{{- end }}
{{- with .Values.watch.namespaceSelector }}
- --namespace-selector={{ . }}
{{- end }}
{{- if .Values.watch.namespaces }}
- --ingress-class={{ .Values.ingressClass.name }}
{{- end }}
{{- if ne .Values.ingressClass.controller "portcullis.io/ingress-controller" }}
- --controller-name={{ .Values.ingressClass.controller }}
{{- end }}
{{- if ne (include "portcullis.ticketKeys" .) "portcullis-ticket-keys" }}
- --ticket-keys-secret=$(POD_NAMESPACE)/{{ include "portcullis.ticketKeys" . }}
{{- end }}
{{- if ne (include "portcullis.lease" .) "portcullis-leader" }}
- --election-lease=$(POD_NAMESPACE)/{{ include "portcullis.lease" . }}
{{- end }}
{{- if .Values.webhook.enabled }}
{{- /* One address: of both families the newer, whose socket takes the older as well. */}}
- --webhook={{ ternary "[::]" "0.0.0.0" (has "IPv6" .Values.ipFamilies) }}:9443
{{- if .Values.webhook.certManager.enabled }}
- --webhook-certificate=/etc/portcullis/webhook/tls.crt
- --webhook-key=/etc/portcullis/webhook/tls.key
- --webhook-configuration=off
{{- else if ne (include "portcullis.name" .) "portcullis" }}
- --webhook-configuration={{ include "portcullis.name" . }}
- --webhook-secret=$(POD_NAMESPACE)/{{ include "portcullis.name" . }}-webhook
- --webhook-service=$(POD_NAMESPACE)/{{ include "portcullis.name" . }}-webhook
{{- end }}
{{- end }}
{{- if eq .Values.secrets.read "all-tls" }}
- --secrets=all-tls
{{- end }}
{{- range $name, $value := .Values.settings }}
{{- if kindIs "slice" $value }}
{{- range $value }}
- {{ printf "--%s=%v" $name . | quote }}
{{- end }}
{{- else if kindIs "float64" $value }}
- {{ printf "--%s=%v" $name (int64 $value) | quote }}
{{- else }}
- {{ printf "--%s=%v" $name $value | quote }}
{{- end }}
{{- end }}
{{- end }}
