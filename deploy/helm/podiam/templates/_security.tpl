{{/* What the agent and the guard may do to the node: capabilities and folders, each only where it is asked for. */}}

{{- define "podiam.locked" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
{{- end -}}

{{/* The guard's, by the mode of interception. */}}
{{- define "podiam.guardSecurity" -}}
{{ include "podiam.locked" . }}
capabilities:
  drop: [ALL]
  add: [NET_ADMIN{{ if eq . "iptables" }}, NET_RAW{{ end }}]
{{- end -}}

{{- define "podiam.agentSecurity" -}}
{{- $add := list -}}
{{- if or (include "podiam.writesRules" .) .Values.selfTest.enabled }}{{ $add = append $add "NET_ADMIN" }}{{ end -}}
{{- if eq (include "podiam.mode" .) "iptables" }}{{ $add = append $add "NET_RAW" }}{{ end -}}
{{- if .Values.selfTest.enabled }}{{ $add = append $add "SYS_ADMIN" }}{{ end -}}
{{- if and .Values.selfTest.enabled .Values.selfTest.hostPID }}{{ $add = append $add "SYS_PTRACE" }}{{ end -}}
{{ include "podiam.locked" . }}
capabilities:
  drop: [ALL]
  {{- with $add }}
  add: [{{ join ", " . }}]
  {{- end }}
{{- end -}}

{{/* JSON: volume name to the node's path, its type, and how it is mounted. */}}
{{- define "podiam.folders" -}}
{{- $folders := dict -}}
{{- with .Values.stateDir -}}
{{- $_ := set $folders "state" (dict "path" . "type" "DirectoryOrCreate") -}}
{{- end -}}
{{- if eq (include "podiam.mode" .) "iptables" -}}
{{- $_ := set $folders "xtables-lock" (dict "path" "/run/xtables.lock" "type" "FileOrCreate") -}}
{{- end -}}
{{- if .Values.selfTest.enabled -}}
{{- $_ := set $folders "netns" (dict "path" "/run/netns" "type" "DirectoryOrCreate" "propagation" "HostToContainer") -}}
{{- end -}}
{{- with .Values.criSocket -}}
{{- /* The folder: a runtime that restarts makes a new socket. Propagation: what it unmounts there is let go here, too. */ -}}
{{- $_ := set $folders "cri" (dict "path" (dir .) "type" "Directory" "propagation" "HostToContainer") -}}
{{- end -}}
{{- toJson $folders -}}
{{- end -}}

{{- define "podiam.mounts" -}}
{{- with include "podiam.folders" . | fromJson -}}
volumeMounts:
  {{- range $name, $folder := . }}
  - name: {{ $name }}
    mountPath: {{ $folder.path }}
    {{- with $folder.propagation }}
    mountPropagation: {{ . }}
    readOnly: true
    {{- end }}
  {{- end }}
{{- end -}}
{{- end -}}

{{- define "podiam.volumes" -}}
{{- with include "podiam.folders" . | fromJson -}}
volumes:
  {{- range $name, $folder := . }}
  - name: {{ $name }}
    hostPath:
      path: {{ $folder.path }}
      type: {{ $folder.type }}
  {{- end }}
{{- end -}}
{{- end -}}
