package main

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"signup-sheet/sink"
)

// What an answer says may have commas in it, wherever the rule is set.
func TestRulesMayHaveCommas(t *testing.T) {
	want := []string{"400:no, thanks=transient", `2xx:{"ok":true,"row":1}=accepted`, "500-503=endpoint", "404=refused"}
	file := write(t, "sink:\n  rules:\n    - 400:no, thanks=transient\n    - '2xx:{\"ok\":true,\"row\":1}=accepted'\n    - 500-503=endpoint\n    - 404=refused\n")
	line := strings.Join(want, " , ")
	for name, c := range map[string]struct {
		args []string
		env  map[string]string
	}{
		"file":        {[]string{"--config", file}, nil},
		"environment": {nil, map[string]string{"SIGNUP_SHEET_SINK_RULES": line}},
		"flag":        {[]string{"--sink.rules", line}, nil},
	} {
		_, l := read("config", append(c.args, "--sink.url", testURL), c.env)
		if err := l.err(); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		again, err := load("run", []string{"--config", write(t, l.effective()), "--sink.url", testURL}, nil)
		if err != nil || !slices.Equal(again.Sink.Rules, want) || len(sinkOf(again).Rules) != len(want) {
			t.Errorf("%s: %v, %q, want %q", name, err, again.Sink.Rules, want)
		}
	}
}

func TestEveryRuleThatIsWrongIsAProblemOfItsOwn(t *testing.T) {
	got := problemsOf(t, []string{"--sink.url", testURL, "--sink.rules", "404, 500=endpoint, 999=refused, 400:x=dead, 400"}, nil)
	if len(got) != 4 {
		t.Errorf("%d problems: %q", len(got), got)
	}
	for i, item := range []string{"1", "3", "4", "5"} {
		if want := "--sink.rules: item " + item + ": want status=verdict, such as 404=refused"; i < len(got) && !strings.HasPrefix(got[i], want) {
			t.Errorf("%q, want %q", got[i], want)
		}
	}
}

// Whatever a preset sets, an operator can set otherwise, wherever settings are: also to less than that.
func TestEveryDefaultOfAPresetGivesWay(t *testing.T) {
	for _, preset := range sink.PresetNames() {
		p, _ := sink.PresetNamed(preset)
		others := map[string]string{"concurrency": "1", "timeout": "11ms", "rate": "100000/s", "max_body_bytes": "1GiB", "sheet_safe": strconv.FormatBool(!p.Sheet)}
		for _, from := range []string{"flag", "environment", "file"} {
			args, env, file := []string{"--sink.url", testURL, "--sink.preset", preset}, map[string]string{}, "sink:\n"
			for name, text := range others {
				switch from {
				case "flag":
					args = append(args, "--sink."+name+"="+text)
				case "environment":
					env["SIGNUP_SHEET_SINK_"+strings.ToUpper(name)] = text
				case "file":
					file += "  " + name + ": " + text + "\n"
				}
			}
			if from == "file" {
				args = append(args, "--config", write(t, file))
			}
			_, l := read("config", args, env)
			if err := l.err(); err != nil {
				t.Errorf("%s, %s: %v", preset, from, err)
			}
			for name, text := range others {
				if !strings.Contains(l.effective(), "  "+name+": "+text+"  # ") || strings.Contains(l.effective(), name+": "+text+"  # default") {
					t.Errorf("%s, %s: %s is not %s:\n%s", preset, from, name, text, l.effective())
				}
			}
		}
	}
}
