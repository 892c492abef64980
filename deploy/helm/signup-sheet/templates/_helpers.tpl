{{- define "signup-sheet.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "signup-sheet.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "signup-sheet.labels" -}}
{{ include "signup-sheet.selectorLabels" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "signup-sheet.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "signup-sheet.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "signup-sheet.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end }}

{{/* The port of config.admin.listen; nothing if that has none. */}}
{{- define "signup-sheet.adminPort" -}}
{{- $listen := include "signup-sheet.setting" (dict "config" .Values.config "name" "admin.listen" "default" ":8080") -}}
{{- regexFind "[0-9]+$" $listen -}}
{{- end }}

{{/*
Seconds between SIGTERM and SIGKILL: the drain, as the program computes it, and 10 s for the last commit (0.5 s), leaving the group
(1 s), requests of the admin server (2 s), and a slow node.
*/}}
{{- define "signup-sheet.gracePeriod" -}}
{{- $config := .Values.config -}}
{{- $drain := include "signup-sheet.seconds" (include "signup-sheet.setting" (dict "config" $config "name" "consumer.drain_timeout" "default" "0s")) | int -}}
{{- if eq $drain 0 -}}
  {{- $presets := dict "zapier" "15s" "make" "30s" "n8n" "30s" "apps-script" "1m" "slack" "10s" "hubspot" "15s" -}}
  {{- $timeout := get $presets (include "signup-sheet.setting" (dict "config" $config "name" "sink.preset" "default" "")) | default "5s" -}}
  {{- $drain = include "signup-sheet.seconds" (include "signup-sheet.setting" (dict "config" $config "name" "sink.timeout" "default" $timeout)) | int | add 2 -}}
  {{- if ne (include "signup-sheet.setting" (dict "config" $config "name" "agify.enabled" "default" "true")) "false" -}}
    {{- $drain = include "signup-sheet.seconds" (include "signup-sheet.setting" (dict "config" $config "name" "agify.timeout" "default" "3s")) | int | add $drain -}}
  {{- end -}}
{{- end -}}
{{- add $drain 10 -}}
{{- end }}

{{/* Whole seconds of a duration in Go's notation, rounded up; nothing for any other text. */}}
{{- define "signup-sheet.seconds" -}}
{{- if regexMatch "^\\+?(0|(([0-9]+\\.?[0-9]*|\\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$" . -}}
{{- $start := toDate "2006-01-02" "2000-01-01" -}}
{{- ((dateModify . $start).Sub $start).Seconds | ceil | int -}}
{{- end -}}
{{- end }}

{{/* Nine tenths of the memory limit in bytes, for GOMEMLIMIT: the rest is for what the Go runtime does not count, such as sockets. */}}
{{- define "signup-sheet.goMemoryLimit" -}}
{{- $limit := dig "limits" "memory" "" .Values.resources -}}
{{- if $limit -}}
{{- /* A number of a values file is a float64 here, which toString writes with an exponent. */ -}}
{{- $text := kindIs "string" $limit | ternary $limit (int64 $limit | toString) -}}
{{- $number := regexFind "^[0-9.]+" $text -}}
{{- $units := dict "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- mulf (float64 $number) (get $units (trimPrefix $number $text) | default 1) 0.9 | floor | int64 -}}
{{- end -}}
{{- end }}
