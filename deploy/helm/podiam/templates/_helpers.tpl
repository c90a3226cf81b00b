{{/* The chart's name, as kube2iam's chart makes it. */}}
{{- define "podiam.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of everything: the release's, with the chart's where that is not in it already. */}}
{{- define "podiam.fullname" -}}
{{- $name := include "podiam.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What pods are selected by. Never changed: a DaemonSet's selector is for ever. */}}
{{- define "podiam.selector" -}}
app.kubernetes.io/name: {{ include "podiam.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "podiam.labels" -}}
{{ include "podiam.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The image. kube2iam's own, out of a values file of its chart, means podiam's. */}}
{{- define "podiam.image" -}}
{{- if regexMatch "(^|/)jtblin/kube2iam$" .Values.image.repository -}}
podiam:{{ .Chart.AppVersion }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "podiam.serviceAccount" -}}
{{- if .Values.rbac.create -}}{{ include "podiam.fullname" . }}{{- else -}}{{ .Values.rbac.serviceAccountName }}{{- end -}}
{{- end -}}

{{/* How pods' requests get to the agent: what the flags say, else kube2iam's switch, else podiam's own value. */}}
{{- define "podiam.mode" -}}
{{- $flags := .Values.extraArgs -}}
{{- if hasKey $flags "intercept" -}}
{{- get $flags "intercept" -}}
{{- else if hasKey $flags "iptables" -}}
{{- ternary "none" "nftables" (has (toString (get $flags "iptables")) (list "0" "f" "F" "false" "FALSE" "False")) -}}
{{- else if kindIs "bool" .Values.host.iptables -}}
{{- ternary "nftables" "none" .Values.host.iptables -}}
{{- else -}}
{{- .Values.intercept.mode -}}
{{- end -}}
{{- end -}}

{{/* Whether podiam writes rules into the kernel: "true" or nothing. */}}
{{- define "podiam.writesRules" -}}
{{- if has (include "podiam.mode" .) (list "nftables" "iptables") -}}true{{- end -}}
{{- end -}}

{{/* The port of /metrics and the probes. kube2iam's chart gives the pods' port where none is set. */}}
{{- define "podiam.adminPort" -}}
{{- $port := int (default 0 .Values.prometheus.metricsPort) -}}
{{- if or (eq $port 0) (eq $port (int .Values.host.port)) -}}9181{{- else -}}{{ $port }}{{- end -}}
{{- end -}}

{{/* The value of a flag as text. Helm reads numbers as floats, and a large one would become 9e+08. */}}
{{- define "podiam.text" -}}
{{- if kindIs "slice" . -}}
{{- join "," . -}}
{{- else if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{/*
The agent's flags, a JSON object of name to text. As in kube2iam's chart, extraArgs win over what comes from `host`, and the
ports and `verbose` win over extraArgs.
*/}}
{{- define "podiam.flags" -}}
{{- $flags := dict "node" "$(NODE_NAME)" "host-ip" .Values.host.ip "intercept" (include "podiam.mode" .) -}}
{{- with .Values.host.interface }}{{ $_ := set $flags "host-interface" . }}{{ end -}}
{{- with .Values.stateDir }}{{ $_ := set $flags "state-dir" . }}{{ end -}}
{{- with .Values.startupTaint }}{{ $_ := set $flags "startup-taint" . }}{{ end -}}
{{- with .Values.criSocket }}{{ $_ := set $flags "cri-socket" . }}{{ end -}}
{{- if not .Values.selfTest.enabled }}{{ $_ := set $flags "self-test-interval" "0" }}{{ end -}}
{{- range $name, $value := .Values.extraArgs -}}
{{- if and (kindIs "bool" $value) (not $value) -}}
{{- fail (printf "extraArgs.%s: kube2iam's chart turns a flag with the value false on. Leave it out, or write \"false\" in quotation marks to turn it off." $name) -}}
{{- end -}}
{{- /* --iptables is told as --intercept already. */ -}}
{{- if ne $name "iptables" -}}
{{- $_ := set $flags $name (ternary "" (include "podiam.text" $value) (kindIs "invalid" $value)) -}}
{{- end -}}
{{- end -}}
{{- if .Values.verbose }}{{ $_ := set $flags "verbose" "" }}{{ end -}}
{{- $_ := set $flags "app-port" (toString .Values.host.port) -}}
{{- $_ := set $flags "metrics-port" (include "podiam.adminPort" .) -}}
{{- toJson $flags -}}
{{- end -}}

{{/* The hooks of the container, without a preStop that takes rules out: "null" where nothing is left. */}}
{{- define "podiam.lifecycle" -}}
{{- $hooks := deepCopy .Values.lifecycle -}}
{{- if contains "iptables" (toJson (get $hooks "preStop")) }}{{ $_ := unset $hooks "preStop" }}{{ end -}}
{{- toJson $hooks -}}
{{- end -}}

{{/* Whether service accounts may name roles, so that the agent reads them: "true" or nothing. */}}
{{- define "podiam.readsAccounts" -}}
{{- $sources := default (get .Values.extraEnv "PODIAM_ROLE_SOURCES") (get .Values.extraArgs "role-sources") -}}
{{- if $sources -}}
{{- if regexMatch "service-account|eks" (include "podiam.text" $sources) -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{/* Whether the agent writes Events, so that it needs the right to: "true" or nothing. */}}
{{- define "podiam.events" -}}
{{- $events := toString (default (get .Values.extraEnv "PODIAM_EVENTS") (get .Values.extraArgs "events")) -}}
{{- if not (regexMatch "^(0|[fF]|false|False|FALSE)$" $events) -}}true{{- end -}}
{{- end -}}

{{/* Whether the new agent starts beside the old one: not with Cilium, whose policy needs a port in the pod's spec. */}}
{{- define "podiam.updateStrategy" -}}
{{- $surge := and (kindIs "invalid" .Values.maxUnavailable) (ne (include "podiam.mode" .) "cilium") -}}
{{- if kindIs "map" .Values.updateStrategy -}}
{{- toYaml .Values.updateStrategy -}}
{{- else if ne .Values.updateStrategy "RollingUpdate" -}}
type: {{ .Values.updateStrategy }}
{{- else if $surge -}}
type: RollingUpdate
rollingUpdate:
  maxSurge: 1
  maxUnavailable: 0
{{- else -}}
type: RollingUpdate
rollingUpdate:
  maxSurge: 0
  maxUnavailable: {{ default 1 .Values.maxUnavailable }}
{{- end -}}
{{- end -}}

{{/* Where the agent may be asked: the address it listens on, unless that is the pod's own. */}}
{{- define "podiam.probe" -}}
httpGet:
  {{- if ne .root.Values.host.ip "$(HOST_IP)" }}
  host: {{ .root.Values.host.ip | quote }}
  {{- end }}
  path: {{ .path }}
  port: {{ include "podiam.adminPort" .root }}
  scheme: HTTP
{{ omit .probe "enabled" | toYaml }}
{{- end -}}
