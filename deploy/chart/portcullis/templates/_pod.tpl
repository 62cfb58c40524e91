{{- define "portcullis.pod" -}}
metadata:
  labels:
    {{- include "portcullis.selector" . | nindent 4 }}
    {{- with .Values.pod.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.pod.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "portcullis.serviceAccount" . }}
  automountServiceAccountToken: true
  # Variables like PORTCULLIS_PORT, made from the names of Services, would be read as settings.
  enableServiceLinks: false
  # The drain's delay and timeout, and ten seconds.
  terminationGracePeriodSeconds: {{ add (include "portcullis.seconds" .Values.drain.delay) (include "portcullis.seconds" .Values.drain.timeout) 10 }}
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with .Values.pod.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- if .Values.hostNetwork }}
  hostNetwork: true
  dnsPolicy: ClusterFirstWithHostNet
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    seccompProfile:
      type: RuntimeDefault
  {{- with .Values.pod.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.pod.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.pod.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if eq .Values.kind "Deployment" }}
  topologySpreadConstraints:
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "portcullis.selector" $ | nindent 10 }}
    {{- end }}
  {{- end }}
  containers:
    - name: portcullis
      image: {{ include "portcullis.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        {{- include "portcullis.args" . | nindent 8 }}
      env:
        - name: POD_NAME
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
        - name: POD_NAMESPACE
          valueFrom:
            fieldRef:
              fieldPath: metadata.namespace
        - name: NODE_NAME
          valueFrom:
            fieldRef:
              fieldPath: spec.nodeName
        # Empty where the cluster does not tell its pods.
        - name: NODE_ZONE
          valueFrom:
            fieldRef:
              fieldPath: metadata.labels['topology.kubernetes.io/zone']
      ports:
        - name: http
          containerPort: {{ ternary .Values.ports.http 8080 .Values.hostNetwork }}
          {{- if .Values.hostNetwork }}
          hostPort: {{ .Values.ports.http }}
          {{- end }}
        - name: https
          containerPort: {{ ternary .Values.ports.https 8443 .Values.hostNetwork }}
          {{- if .Values.hostNetwork }}
          hostPort: {{ .Values.ports.https }}
          {{- end }}
        - name: admin
          containerPort: 9090
          {{- if .Values.hostNetwork }}
          hostPort: 9090
          hostIP: 127.0.0.1
          {{- end }}
        {{- if .Values.webhook.enabled }}
        - name: webhook
          containerPort: 9443
        {{- end }}
      livenessProbe:
        httpGet:
          path: /livez
          port: admin
          {{- if .Values.hostNetwork }}
          host: 127.0.0.1
          {{- end }}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      readinessProbe:
        httpGet:
          path: /readyz
          port: admin
          {{- if .Values.hostNetwork }}
          host: 127.0.0.1
          {{- end }}
        periodSeconds: 3
        timeoutSeconds: 3
        failureThreshold: 2
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
          {{- if .Values.hostNetwork }}
          add: [NET_BIND_SERVICE]
          {{- end }}
      {{- if .Values.webhook.certManager.enabled }}
      volumeMounts:
        - name: webhook
          mountPath: /etc/portcullis/webhook
          readOnly: true
      {{- end }}
  {{- if .Values.webhook.certManager.enabled }}
  volumes:
    - name: webhook
      secret:
        secretName: {{ include "portcullis.name" . }}-webhook-tls
        # Traffic does not wait for cert-manager; the webhook does.
        optional: true
  {{- end }}
{{- end }}
