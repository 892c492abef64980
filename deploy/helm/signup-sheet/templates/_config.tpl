{{/* What config has for a setting, as text; else the default. Takes config, name (sink.timeout) and default. */}}
{{- define "signup-sheet.setting" -}}
{{- $node := .config -}}
{{- range splitList "." .name -}}
  {{- $node = kindIs "map" $node | ternary (get (kindIs "map" $node | ternary $node dict) .) "" -}}
{{- end -}}
{{- if or (kindIs "invalid" $node) (eq (toString $node) "") -}}{{ .default }}{{- else -}}{{ $node }}{{- end -}}
{{- end }}

{{/*
The entries of .Values.secrets that are in use, as a JSON list of setting (sink.url_file), secret and key. Takes tree, the values, and
path, the keys that led there.
*/}}
{{- define "signup-sheet.secretFiles" -}}
{{- $found := list -}}
{{- range $name, $value := .tree -}}
  {{- $path := append $.path $name -}}
  {{- if hasKey $value "existingSecret" -}}
    {{- if $value.existingSecret -}}
      {{- $found = append $found (dict "setting" (join "." $path) "secret" $value.existingSecret "key" $value.key) -}}
    {{- end -}}
  {{- else -}}
    {{- $found = concat $found (include "signup-sheet.secretFiles" (dict "tree" $value "path" $path) | fromJsonArray) -}}
  {{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end }}

{{/* The program's YAML: config, the files of secrets, and what the chart knows better than the program's defaults. */}}
{{- define "signup-sheet.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if not (include "signup-sheet.setting" (dict "config" $config "name" "kafka.group" "default" "")) -}}
  {{- $config = mergeOverwrite $config (dict "kafka" (dict "group" (include "signup-sheet.fullname" .))) -}}
{{- end -}}
{{- range include "signup-sheet.secretFiles" (dict "tree" .Values.secrets "path" list) | fromJsonArray -}}
  {{- $keys := splitList "." .setting -}}
  {{- $file := dict (last $keys) (printf "/etc/signup-sheet/secrets/%s" .setting) -}}
  {{- range initial $keys | reverse -}}
    {{- $file = dict . $file -}}
  {{- end -}}
  {{- $config = mergeOverwrite $config $file -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{/* Fails with everything that is wrong and that the schema of the values cannot say. */}}
{{- define "signup-sheet.validate" -}}
{{- $config := .Values.config -}}
{{- $problems := list -}}
{{- if not (include "signup-sheet.setting" (dict "config" $config "name" "kafka.brokers" "default" "")) -}}
  {{- $problems = append $problems "config.kafka.brokers is missing: list the brokers to find the cluster by, host:port each" -}}
{{- end -}}
{{- if include "signup-sheet.setting" (dict "config" $config "name" "sink.url" "default" "") -}}
  {{- $problems = append $problems "config.sink.url is a secret, and everyone who may read ConfigMaps could see it: put it into a Secret and name that in secrets.sink.url_file.existingSecret" -}}
{{- else if and (not .Values.secrets.sink.url_file.existingSecret) (not (include "signup-sheet.setting" (dict "config" $config "name" "sink.url_file" "default" ""))) -}}
  {{- $problems = append $problems (printf "secrets.sink.url_file.existingSecret is missing: name the Secret with the webhook's URL. To make one: kubectl create secret generic sheet-webhook --namespace %s --from-file=url=FILE" .Release.Namespace) -}}
{{- end -}}
{{- range include "signup-sheet.secretFiles" (dict "tree" .Values.secrets "path" list) | fromJsonArray -}}
  {{- if include "signup-sheet.setting" (dict "config" $config "name" .setting "default" "") -}}
    {{- $problems = append $problems (printf "config.%s and secrets.%s.existingSecret are both set: remove one" .setting .setting) -}}
  {{- end -}}
{{- end -}}
{{- range list "consumer.drain_timeout" "sink.timeout" "agify.timeout" -}}
  {{- $text := include "signup-sheet.setting" (dict "config" $config "name" . "default" "0s") -}}
  {{- if not (include "signup-sheet.seconds" $text) -}}
    {{- $problems = append $problems (printf "config.%s: want a duration with its unit, such as 10s, not %q: terminationGracePeriodSeconds follows it" . $text) -}}
  {{- end -}}
{{- end -}}
{{- $listen := include "signup-sheet.setting" (dict "config" $config "name" "admin.listen" "default" "") -}}
{{- if or (and $listen (not (regexMatch "^(0\\.0\\.0\\.0|\\[::\\])?:[1-9][0-9]*$" $listen))) (and (not $listen) (hasKey (get $config "admin" | default dict) "listen")) -}}
  {{- $problems = append $problems (printf "config.admin.listen: want a port on all addresses, such as :8080, not %q: probes and Prometheus connect to the pod's address" $listen) -}}
{{- end -}}
{{- range .Values.env -}}
  {{- if or (hasPrefix "SIGNUP_SHEET_" .name) (eq "SHEETS_WEBHOOK_URL" .name) -}}
    {{- $problems = append $problems (printf "env: %s is a setting of the program: give it by config, or by secrets" .name) -}}
  {{- else if eq "GOMEMLIMIT" .name -}}
    {{- $problems = append $problems "env: GOMEMLIMIT follows resources.limits.memory: set that" -}}
  {{- end -}}
{{- end -}}
{{- if $problems -}}
  {{- fail (printf "\n  %s" (join "\n  " $problems)) -}}
{{- end -}}
{{- end }}
