{{/* Names and labels that several objects share. */}}
{{- define "holdfast.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "holdfast.labels" -}}
app.kubernetes.io/name: holdfast
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "holdfast.selector" -}}
app.kubernetes.io/name: holdfast
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Of a container that needs nothing of its host. */}}
{{- define "holdfast.restricted" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "holdfast.pull" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- end -}}

{{/*
What the user lets the pods of nodes tolerate, and always the taints that failover puts on a node: only a data process
that is back there has them removed (csi/kube/SPEC.md F5).
*/}}
{{- define "holdfast.nodeTolerations" -}}
{{- $unreachable := dict "key" "holdfast.io/unreachable" "operator" "Exists" -}}
{{- $outOfService := dict "key" "node.kubernetes.io/out-of-service" "operator" "Exists" -}}
{{- toJson (concat (.Values.node.tolerations | default list) (list $unreachable $outOfService)) -}}
{{- end -}}

{{/*
Folders of disks that are files elsewhere than in the state folder: each once. A folder of the host hides the image's
own of that name, so none that has programs, libraries, or what the container is given.
*/}}
{{- define "holdfast.diskFolders" -}}
{{- $tree := "^/(bin|sbin|lib(32|64|x32)?|etc|proc|sys|opt/holdfast|usr/(bin|sbin|lib(32|64|x32)?|local/bin))(/|$)" -}}
{{- $above := "^/(usr|usr/local|opt|var|var/run|run|dev)?$" -}}
{{- $folders := list -}}
{{- range .Values.node.disks -}}
{{- if not (or (hasPrefix "/dev/" .path) (hasPrefix "/var/lib/holdfast/" .path)) -}}
{{- if or (regexMatch $tree (dir .path)) (regexMatch $above (dir .path)) -}}
{{- fail (printf "node.disks: %s lies in %s, where the image has its own files: name a file in another folder" .path (dir .path)) -}}
{{- end -}}
{{- $folders = append $folders (dir .path) -}}
{{- end -}}
{{- end -}}
{{- toJson (uniq $folders) -}}
{{- end -}}

{{/* As an entry of a KubeSchedulerConfiguration: what it does not know in 2 s is scheduled as without it. */}}
{{- define "holdfast.extender" -}}
- urlPrefix: {{ ternary "https" "http" (ne .Values.extender.tlsSecret "") }}://holdfast-extender.{{ .Release.Namespace }}.svc:{{ .Values.extender.port }}
  filterVerb: filter
  prioritizeVerb: prioritize
  weight: 5
  nodeCacheCapable: true
  ignorable: true
  httpTimeout: 2s
  {{- if .Values.extender.tlsSecret }}
  enableHTTPS: true
  tlsConfig:
    caFile: /etc/holdfast/extender/ca.crt
    certFile: /etc/holdfast/extender/tls.crt
    keyFile: /etc/holdfast/extender/tls.key
  {{- end }}
{{- end -}}

{{/* Not empty: the sidecar for changed blocks has its API and its certificate. */}}
{{- define "holdfast.servesSnapshotMetadata" -}}
{{- if and .Values.snapshotMetadata.tlsSecret (.Capabilities.APIVersions.Has "cbt.storage.k8s.io/v1beta1") }}yes{{ end -}}
{{- end -}}

{{/* The first class that is made; empty: none. */}}
{{- define "holdfast.firstClass" -}}
{{- with .Values.storageClasses -}}
{{- if .default.create }}holdfast{{ else if .encrypted.create }}holdfast-encrypted{{ else if .writeback.create }}holdfast-writeback{{ end -}}
{{- end -}}
{{- end -}}
