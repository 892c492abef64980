//go:build browser

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/twmb/franz-go/pkg/kgo"
)

// visitor looks at the page of a demo, which runs as a process of its own, in a browser.
type visitor struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // the browser's tab

	demo *exec.Cmd

	mu       sync.Mutex
	mistakes []string // what the browser had to complain about
}

// browse starts a demo and opens its page. Both end with the test at the latest.
func browse(t *testing.T, width, height int64) *visitor {
	t.Helper()
	browser := findBrowser(t)
	v := &visitor{t: t}
	url := v.startDemo()

	allocator, cancel := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(browser), chromedp.NoSandbox, // root may not use the sandbox, and the page is ours
		chromedp.WSURLReadTimeout(time.Minute))...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	v.ctx = ctx
	if err := chromedp.Listen(ctx, v.listen); err != nil {
		t.Fatalf("start %s: %v", browser, err)
	}
	v.do(chromedp.EmulateViewport(width, height), chromedp.Navigate(url))
	return v
}

func findBrowser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "headless-shell"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no Chromium in PATH: install Debian's or Ubuntu's package chromium, or Google Chrome")
	return ""
}

// startDemo builds and starts the demo and returns the address of its page.
func (v *visitor) startDemo() string {
	v.t.Helper()
	dir := v.t.TempDir()
	program := filepath.Join(dir, "demo")
	if output, err := exec.CommandContext(v.t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		v.t.Fatalf("%v\n%s", err, output)
	}
	addresses := make(chan string, 1)
	address := regexp.MustCompile(`Open this +(http://\S+)\n`)
	out := &trigger{when: address}
	out.pull = func() { addresses <- address.FindStringSubmatch(out.last)[1] }
	v.demo = exec.CommandContext(context.WithoutCancel(v.t.Context()), program)
	v.demo.Dir = "."
	v.demo.Env = append(foreignEnvironment(os.Environ()), "TMPDIR="+dir)
	v.demo.Stdout, v.demo.Stderr = out, os.Stderr
	if err := v.demo.Start(); err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { _ = v.stopDemo() })
	select {
	case url := <-addresses:
		return url
	case <-time.After(2 * time.Minute):
		v.t.Fatal("the demo has not said where its page is")
		return ""
	}
}

// stopDemo does what Ctrl-C does, and returns how the demo ended.
func (v *visitor) stopDemo() error {
	if v.demo.ProcessState != nil {
		return nil
	}
	if err := v.demo.Process.Signal(syscall.SIGINT); err != nil {
		return err
	}
	return v.demo.Wait()
}

// listen notes all that a developer would see in red: exceptions, errors and warnings, violations of the policy.
func (v *visitor) listen(event any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		v.mistakes = append(v.mistakes, e.ExceptionDetails.Text)
		if e.ExceptionDetails.Exception != nil {
			v.mistakes = append(v.mistakes, e.ExceptionDetails.Exception.Description)
		}
	case *runtime.EventConsoleAPICalled:
		v.mistakes = append(v.mistakes, fmt.Sprintf("console.%s", e.Type))
	case *log.EventEntryAdded:
		// Trying to make a member come or go during a rebalance is answered 409, which a browser reports.
		if !strings.Contains(e.Entry.Text, "409") {
			v.mistakes = append(v.mistakes, fmt.Sprintf("%s %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL))
		}
	}
}

func (v *visitor) complaints() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.mistakes
}

func (v *visitor) do(actions ...chromedp.Action[chromedp.Void]) {
	v.t.Helper()
	if err := chromedp.Do(v.ctx, actions...); err != nil {
		v.t.Fatal(err)
	}
}

// find evaluates JavaScript.
func find[T any](v *visitor, script string) T {
	v.t.Helper()
	found, err := chromedp.Run(v.ctx, chromedp.Evaluate[T](script))
	if err != nil {
		v.t.Fatalf("%v: %s", err, script)
	}
	return found
}

// until waits for the JavaScript condition.
func (v *visitor) until(what, condition string) {
	v.t.Helper()
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for late := time.After(time.Minute); ; {
		if find[bool](v, condition) {
			return
		}
		select {
		case <-ticker.C:
		case <-late:
			v.t.Fatalf("%s: not within a minute: %s\n%s", what, condition, find[string](v, "document.body.innerText.slice(0, 1500)"))
		}
	}
}

func (v *visitor) text(id string) string {
	v.t.Helper()
	return find[string](v, `document.getElementById("`+id+`").textContent`)
}

// count is a number of the page, written 1,234.
func (v *visitor) count(id string) int {
	v.t.Helper()
	return find[int](v, numberOf(id))
}

func numberOf(id string) string {
	return `Number(document.getElementById("` + id + `").textContent.replaceAll(",", ""))`
}

func (v *visitor) click(selector string) {
	v.t.Helper()
	v.do(chromedp.Click(chromedp.CSS(selector)))
}

// moods are conditions.
const (
	delivering  = `document.getElementById("mood-text").textContent === "Delivering."`
	oneConsumer = `document.querySelectorAll("#consumers li").length === 1 && document.querySelectorAll('#consumers li[data-well="true"]').length === 1`
)

func isPressed(button string, on bool) string {
	return fmt.Sprintf(`document.getElementById("button-%s").getAttribute("aria-pressed") === "%t"`, button, on)
}

// switchOn presses a button that stays pressed, sees what it does, presses it again and sees that it has ended.
func (v *visitor) switchOn(button, effect, undone string) {
	v.t.Helper()
	v.click("#button-" + button)
	v.until(button+" is pressed", isPressed(button, true))
	v.until(button+" has its effect", effect)
	v.click("#button-" + button)
	v.until(button+" is not pressed", isPressed(button, false))
	v.until(button+" is undone", undone)
}

func moodHas(text string) string {
	return fmt.Sprintf(`document.getElementById("mood-text").textContent.includes(%q)`, text)
}

// held is the condition that the reason stands before the stage at which rows wait.
func held(reason string) string {
	return fmt.Sprintf(`document.querySelector('[data-stage="delivered"]').classList.contains("held") && document.getElementById("gate").textContent === %q`, reason)
}

func TestBrowserShowsTheSheetAndEveryButtonWorks(t *testing.T) {
	v := browse(t, 1280, 800)
	v.until("rows", `document.querySelectorAll("#sheet-signups tbody tr").length > 10`)
	v.until("it adds up", `document.getElementById("verdict").textContent.startsWith("✓")`)

	tried := map[string]func(){
		"down": func() {
			v.switchOn("down", moodHas("5xx")+` && document.querySelector('[data-stage="delivered"]').classList.contains("held")`, delivering)
		},
		"limit": func() {
			v.switchOn("limit", moodHas("Held: ")+` && document.getElementById("mood-next").textContent.startsWith("Next try in")`, delivering)
		},
		"slow": func() {
			v.switchOn("slow", numberOf("in_flight")+` > 40 && document.getElementById("mood-detail").textContent.includes("takes its time")`,
				delivering+" && "+numberOf("in_flight")+" < 15")
		},
		"token": func() {
			v.switchOn("token", held("unauthorised")+" && "+moodHas("Held: ")+" && "+moodHas("401"), delivering)
		},
		"refuse": func() {
			v.switchOn("refuse", held("refused")+" && "+moodHas("Held: ")+" && "+moodHas("400"), delivering)
		},
		"flood": func() {
			before := v.count("dead_letters")
			v.click("#button-flood")
			// It lasts three seconds, in which a busy page need not have looked.
			all := fmt.Sprintf("%s >= %d", numberOf("dead_letters"), before+floodRecords)
			v.until("a flood", isPressed("flood", true)+" || "+all)
			v.until("its dead letters", all)
			v.until("its end by itself", isPressed("flood", false)+" && "+delivering)
		},
		"second": func() {
			v.switchOn("second", `document.querySelectorAll('#consumers li[data-well="true"]').length === 2`, oneConsumer)
		},
		"kill": func() {
			before := v.text("consumers")
			v.click("#button-kill")
			v.until("the page says why nothing is delivered", moodHas("killed"))
			v.until("another process", oneConsumer+fmt.Sprintf(` && document.getElementById("consumers").textContent !== %q && `, before)+delivering)
		},
		"poison": func() {
			before := v.count("dead_letters")
			v.click("#button-poison")
			v.until("a dead letter", fmt.Sprintf("%s > %d", numberOf("dead_letters"), before))
		},
		"pause": func() {
			v.switchOn("pause", moodHas("paused")+` && document.getElementById("in_flight").textContent === "0"`, delivering)
		},
	}
	for _, id := range find[[]string](v, `[...document.querySelectorAll("#buttons button")].map((b) => b.id)`) {
		name := strings.TrimPrefix(id, "button-")
		try, known := tried[name]
		if !known {
			t.Errorf("nobody tries the button %s", name)
			continue
		}
		rows := v.count("rows")
		try()
		v.until("rows after "+name, fmt.Sprintf("%s > %d", numberOf("rows"), rows))
	}

	v.likeASpreadsheet()
	v.thousandsOfRows()

	v.click("#button-pause")
	v.until("nothing in flight", moodHas("Everything has arrived"))
	if published, rows, letters, skipped := v.count("published"), v.count("rows"), v.count("dead_letters"), v.count("skipped"); published != rows+letters+skipped || rows < 2000 {
		t.Errorf("%d published, %d rows, %d dead letters, %d skipped", published, rows, letters, skipped)
	}
	if verdict := v.text("verdict"); verdict != "✓ nothing is missing" {
		t.Error(verdict)
	}
	for _, mistake := range v.complaints() {
		t.Error(mistake)
	}

	var consumers []consumerView
	if err := json.Unmarshal([]byte(find[string](v, `document.getElementById("consumers").dataset.shown`)), &consumers); err != nil || len(consumers) != 1 {
		t.Fatalf("%v, %+v", err, consumers)
	}
	if err := v.stopDemo(); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
	if err := syscall.Kill(consumers[0].PID, 0); err == nil {
		t.Error("the consumer still runs")
	}
	v.until("the page says that the demo has ended", moodHas("The demo has ended."))
}

// likeASpreadsheet selects cells, moves with the arrows, scrolls up and back to the newest row, and changes sheets.
func (v *visitor) likeASpreadsheet() {
	v.t.Helper()
	v.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#sheet-signups tbody tr:nth-last-child(3) td:nth-of-type(3)").click()`))
	v.until("the cell is shown", `/^C[0-9]+$/.test(document.getElementById("reference").textContent) && document.getElementById("content").textContent.includes("@")`)
	v.do(chromedp.KeyEvent(kb.ArrowRight))
	v.until("the next cell is shown", `document.getElementById("reference").textContent.startsWith("D")`)
	v.do(chromedp.KeyEvent(kb.ArrowUp))

	v.until("the sheet can scroll", `document.getElementById("sheet-signups").scrollHeight > document.getElementById("sheet-signups").clientHeight + 300`)
	v.do(chromedp.Evaluate[chromedp.Void](`document.getElementById("sheet-signups").scrollTop = 0`))
	v.until("newer rows are offered", `!document.getElementById("newest").hidden && document.getElementById("newest").textContent.includes("new row")`)
	if top := find[float64](v, `document.getElementById("sheet-signups").scrollTop`); top != 0 {
		v.t.Errorf("the sheet scrolls away from its reader: %g", top)
	}
	v.click("#newest")
	v.until("the newest row", `document.getElementById("newest").hidden && document.getElementById("sheet-signups").scrollTop > 0`)

	v.click("#tab-letters")
	v.until("dead letters", `!document.getElementById("sheet-letters").hidden && document.getElementById("sheet-signups").hidden && document.querySelectorAll("#sheet-letters tbody tr").length > 0`)
	v.do(chromedp.Focus(chromedp.CSS("#tab-letters")), chromedp.KeyEvent(kb.ArrowLeft))
	v.until("signups again", `document.getElementById("sheet-letters").hidden && !document.getElementById("sheet-signups").hidden`)
}

// thousandsOfRows publishes many signups at once, one of them with markup in its name.
func (v *visitor) thousandsOfRows() {
	v.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(v.text("kafka")), kgo.DefaultProduceTopic(topic))
	if err != nil {
		v.t.Fatal(err)
	}
	defer client.Close()
	const markup = `<img src=x onerror=alert(1)><script>alert(2)</script>`
	before := v.count("rows")
	records := make([]*kgo.Record, 2000)
	for i := range records {
		name, _ := json.Marshal(fmt.Sprintf("%s %d", markup, i))
		records[i] = &kgo.Record{Key: fmt.Append(nil, i), Value: fmt.Appendf(nil, `{"email":"many%d@mail.example","name":%s}`, i, name)}
	}
	if err := client.ProduceSync(v.t.Context(), records...).FirstErr(); err != nil {
		v.t.Fatal(err)
	}
	v.until("thousands of rows", fmt.Sprintf("%s >= %d", numberOf("rows"), before+len(records)))
	v.until("their names as text", `[...document.querySelectorAll("#sheet-signups td")].some((cell) => cell.textContent.startsWith("<img src=x"))`)
	if n := find[int](v, `document.querySelectorAll("#sheet-signups tbody tr").length`); n > 300 {
		v.t.Errorf("%d rows are in the document", n)
	}
	if n := find[int](v, `document.querySelectorAll("#sheet-signups img, #sheet-signups script").length`); n > 0 {
		v.t.Errorf("%d elements are made of data", n)
	}
}

// TestScreenshots writes pictures of the page into the directory SCREENSHOTS: make screenshot.
func TestScreenshots(t *testing.T) {
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		t.Skip("SCREENSHOTS names no directory")
	}
	v := browse(t, 1280, 800)
	shoot := func(name string) {
		t.Helper()
		picture, err := chromedp.Run(v.ctx, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	scheme := func(name string) chromedp.Action[chromedp.Void] {
		return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
			_, err := cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}},
			})
			return err
		})
	}
	v.do(scheme("light"))
	v.until("rows and rates", numberOf("rows")+" > 150 && "+numberOf("dead_letters")+" > 0")
	v.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#sheet-signups tbody tr:nth-last-child(5) td:nth-of-type(9)").click()`))
	shoot("delivering")
	v.do(scheme("dark"))
	shoot("delivering-dark")
	v.do(chromedp.EmulateViewport(390, 844, chromedp.EmulateScale(2), chromedp.EmulateMobile))
	shoot("phone-dark")
	v.do(scheme("light"))
	shoot("phone")
	v.do(chromedp.EmulateViewport(1280, 800))
	v.click("#button-limit")
	v.until("a hold", moodHas("Held: ")+` && document.getElementById("mood-next").textContent !== "" && `+numberOf("in_flight")+" > 30")
	shoot("demo") // the README's
	v.do(scheme("dark"))
	shoot("demo-dark")
	v.do(scheme("light"), chromedp.EmulateViewport(390, 844, chromedp.EmulateScale(2), chromedp.EmulateMobile))
	shoot("demo-phone")
	v.do(chromedp.EmulateViewport(1280, 800))
	v.click("#button-limit")
	v.click("#tab-letters")
	v.click("#button-second")
	v.until("two consumers", `document.querySelectorAll('#consumers li[data-well="true"]').length === 2`)
	shoot("letters")
	v.click("#button-down")
	v.until("a backlog", moodHas("5xx")+" && "+numberOf("in_flight")+" > 40")
	v.click("#tab-signups")
	shoot("down")
}
