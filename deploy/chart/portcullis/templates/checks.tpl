{{- /* Values that contradict each other; the schema sees each alone. */ -}}
{{- define "portcullis.checks" -}}
{{- if and .Values.watch.namespaces .Values.watch.namespaceSelector -}}
{{- fail "watch.namespaces and watch.namespaceSelector exclude each other" -}}
{{- end -}}
{{- if and (eq .Values.kind "DaemonSet") .Values.autoscaling.enabled -}}
{{- fail "autoscaling is for kind: Deployment; a DaemonSet has one pod on every node" -}}
{{- end -}}
{{- if and .Values.hostNetwork (ne .Values.kind "DaemonSet") -}}
{{- fail "hostNetwork needs kind: DaemonSet: two pods cannot have the ports of one node" -}}
{{- end -}}
{{- if and (eq .Values.secrets.read "all-tls") (not .Values.secrets.clusterWide) -}}
{{- fail "secrets.read: all-tls needs secrets.clusterWide: true, the right to read every Secret" -}}
{{- end -}}
{{- if and .Values.secrets.clusterWide .Values.watch.namespaces -}}
{{- fail "secrets.clusterWide gives rights outside of watch.namespaces: leave one of them out" -}}
{{- end -}}
{{- if and .Values.webhook.enabled .Values.hostNetwork -}}
{{- fail "webhook.enabled is not for hostNetwork: no NetworkPolicy keeps pods from a port of the node; run `portcullis webhook` as a Deployment of its own (docs/guide/webhook.md)" -}}
{{- end -}}
{{- if and .Values.webhook.enabled .Values.watch.namespaces -}}
{{- fail "webhook.enabled needs rights in the cluster, which watch.namespaces does without" -}}
{{- end -}}
{{- if and .Values.webhook.certManager.enabled (not .Values.webhook.enabled) -}}
{{- fail "webhook.certManager.enabled is about the webhook's certificate: it needs webhook.enabled" -}}
{{- end -}}
{{- if and .Values.webhook.enabled .Values.networkPolicy.enabled (not .Values.webhook.apiServers) -}}
{{- fail "webhook.enabled needs webhook.apiServers: the networks from which API servers call, as pods see them" -}}
{{- end -}}
{{- end }}
