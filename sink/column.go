package sink

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Column is one column of a row. [ParseColumns] makes it.
type Column struct {
	// Name is the name under which it is sent.
	Name string
	// Path leads to the value; what it means is the caller's to know. It is nil for a
	// constant.
	Path []string

	constant jsontext.Value
	steps    []step
	cell     cell
	keyed    bool // needs the key of hash
}

// cell says whether a column's strings are neutralised.
type cell int

const (
	cellAsMapping cell = iota // as the mapping says
	cellRaw                   // never
	cellSafe                  // always
)

// Keyed reports whether the column needs a key: see [MappingConfig].
func (c Column) Keyed() bool { return c.keyed }

// ColumnSyntax says in a line how a column is written.
const ColumnSyntax = "name=value|function|…, where value is a path (signup.plan), a number or a text in quotes, and the name may be left out before a path"

// ParseColumns reads columns as operators write them, each
//
//	[name =] value {| function [(argument, …)]}
//
// A value is a path, which is names with dots between, or a constant: a text in quotes, a
// number, true or false. Quotes are ' or ", and are written twice inside of such a text.
// Names of columns, names in a path behind its first dot, and arguments may be put in
// quotes too. Without a name a column is called as the last name of its path.
//
// resolve is told each path as it is written, and returns the one that it stands for, or
// an error that says which there are. All errors come at once, each with the number of
// its column, its name, and where in it what is wrong.
func ParseColumns(texts []string, resolve func(path []string) ([]string, error)) ([]Column, error) {
	var columns []Column
	var errs []error
	seen := map[string]int{}
	for i, text := range texts {
		p := &parser{text: text, resolve: resolve}
		c := p.column()
		label := fmt.Sprintf("column %d", i+1)
		if c.Name != "" {
			label += fmt.Sprintf(" (%q)", c.Name)
			if first, twice := seen[c.Name]; twice {
				errs = append(errs, fmt.Errorf("%s: column %d has that name already: give one another", label, first))
			} else {
				seen[c.Name] = i + 1
			}
		}
		for _, err := range p.errs {
			errs = append(errs, fmt.Errorf("%s, %w", label, err))
		}
		columns = append(columns, c)
	}
	if len(texts) == 0 {
		errs = append(errs, errors.New("no columns: want one at least"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return columns, nil
}

// SplitColumns splits a list of columns at its commas, but for those in quotes and in
// parentheses.
func SplitColumns(list string) []string {
	var columns []string
	var quote byte
	depth, from := 0, 0
	for i := range len(list) {
		switch c := list[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'', c == '"':
			quote = c
		case c == '(':
			depth++
		case c == ')':
			depth = max(0, depth-1)
		case c == ',' && depth == 0:
			columns = append(columns, strings.TrimSpace(list[from:i]))
			from = i + 1
		}
	}
	return append(columns, strings.TrimSpace(list[from:]))
}

// parser reads one column from left to right.
type parser struct {
	text    string
	at      int
	resolve func([]string) ([]string, error)
	errs    []error
}

// problem notes what is wrong at an index of the text, on one line.
func (p *parser) problem(at int, format string, args ...any) {
	args = append([]any{utf8.RuneCountInString(p.text[:at]) + 1}, args...)
	p.errs = append(p.errs, errors.New(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, fmt.Sprintf("at character %d: "+format, args...))))
}

// column reads all of the text. After a mistake in the grammar it gives up; after a
// function or a path that does not exist it reads on.
func (p *parser) column() Column {
	var c Column
	p.blanks()
	if p.at == len(p.text) {
		p.problem(p.at, "is empty: want %s", ColumnSyntax)
		return c
	}
	if !utf8.ValidString(p.text) {
		p.problem(p.at, "is not UTF-8")
		return c
	}
	if !p.name(&c) || !p.value(&c) {
		return c
	}
	for p.take('|') {
		if !p.function(&c) {
			return c
		}
	}
	if p.at < len(p.text) {
		p.problem(p.at, "want | and a function here, or the end; a name with one of = | , ( ' \" in it is put in quotes")
	}
	return c
}

// name reads the name and the equals sign, if there is one before anything that no name
// has.
func (p *parser) name(c *Column) bool {
	start := p.at
	if p.quoted() {
		name, ok := p.quote()
		switch {
		case !ok:
			return false
		case !p.take('='):
			p.problem(start, "a constant needs a name before it, such as source=%s", quoteConstant(name))
			return false
		case name == "":
			p.problem(start, "the name is empty")
			return false
		}
		c.Name = name
		return true
	}
	end := strings.IndexAny(p.text[start:], `=|'"`)
	if end < 0 || p.text[start+end] != '=' {
		return true
	}
	c.Name = strings.TrimSpace(p.text[start : start+end])
	if c.Name == "" {
		p.problem(start, "the name is empty")
		return false
	}
	p.at = start + end + 1
	p.blanks()
	return true
}

// value reads a path or a constant.
func (p *parser) value(c *Column) bool {
	start := p.at
	if p.quoted() {
		text, ok := p.quote()
		c.constant = quoteText(text)
		return ok
	}
	word := p.word()
	if word == "" {
		p.problem(start, "want a path such as signup.plan, a number, or a text in quotes")
		return false
	}
	if number := jsontext.Value(p.untilAny(start, "|")); isConstant(number) {
		p.at = start + len(number)
		p.blanks()
		c.constant = number
		if c.Name == "" {
			p.problem(start, "a constant needs a name before it, such as version=%s", number)
		}
		return true
	}
	path := []string{word}
	for p.at < len(p.text) && p.text[p.at] == '.' {
		p.at++
		word, ok := p.word(), true
		if word == "" && p.quoted() {
			word, ok = p.quote()
		}
		if !ok {
			return false
		}
		if word == "" {
			p.problem(p.at, "want a name behind the dot; one with blanks or signs in it is put in quotes")
			return false
		}
		path = append(path, word)
	}
	p.blanks()
	if c.Name == "" {
		c.Name = path[len(path)-1]
	}
	var err error
	if c.Path, err = p.resolve(path); err != nil {
		p.problem(start, "%v", err)
	}
	return true
}

// function reads one function with its arguments.
func (p *parser) function(c *Column) bool {
	start := p.at
	name := p.word()
	p.blanks()
	args, ok := p.arguments()
	if !ok {
		return false
	}
	for _, f := range functions() {
		if f.name != name {
			continue
		}
		step, err := f.make(args)
		switch {
		case err != nil:
			p.problem(start, "%s: %v", name, err)
		case step != nil:
			c.steps = append(c.steps, step)
		}
		switch name {
		case "raw":
			c.cell = cellRaw
		case "safe":
			c.cell = cellSafe
		case "hash":
			c.keyed = true
		}
		return true
	}
	p.problem(start, "there is no function %q: want %s", name, functionNames())
	return true
}

// argument is what stands between parentheses or commas.
type argument struct {
	text   string
	quoted bool
}

// arguments reads the parentheses behind a function, if there are any.
func (p *parser) arguments() ([]argument, bool) {
	if !p.take('(') {
		return nil, true
	}
	if p.take(')') {
		return nil, true
	}
	var args []argument
	for {
		a := argument{quoted: p.quoted()}
		if a.quoted {
			var ok bool
			if a.text, ok = p.quote(); !ok {
				return nil, false
			}
		} else {
			a.text = p.untilAny(p.at, ",)")
			p.at += len(a.text)
			p.blanks()
		}
		args = append(args, a)
		switch {
		case p.take(')'):
			return args, true
		case !p.take(','):
			p.problem(p.at, "want a comma or a closing parenthesis")
			return nil, false
		}
	}
}

// take moves behind a sign and the blanks that follow it, if it is next.
func (p *parser) take(sign byte) bool {
	if p.at == len(p.text) || p.text[p.at] != sign {
		return false
	}
	p.at++
	p.blanks()
	return true
}

func (p *parser) blanks() {
	p.at = len(p.text) - len(strings.TrimLeftFunc(p.text[p.at:], unicode.IsSpace))
}

// word reads a name without quotes.
func (p *parser) word() string {
	rest := p.text[p.at:]
	end := strings.IndexFunc(rest, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(`.|,()='"`, r) })
	if end < 0 {
		end = len(rest)
	}
	p.at += end
	return rest[:end]
}

// untilAny returns the text from an index to any of some signs or the end, without the
// blanks at its end.
func (p *parser) untilAny(from int, signs string) string {
	text := p.text[from:]
	if end := strings.IndexAny(text, signs); end >= 0 {
		text = text[:end]
	}
	return strings.TrimRightFunc(text, unicode.IsSpace)
}

func (p *parser) quoted() bool {
	return p.at < len(p.text) && (p.text[p.at] == '\'' || p.text[p.at] == '"')
}

// quote reads a text in quotes, and the blanks behind it.
func (p *parser) quote() (string, bool) {
	start, sign := p.at, p.text[p.at:p.at+1]
	rest := p.text[p.at+1:]
	var text strings.Builder
	for {
		before, after, closed := strings.Cut(rest, sign)
		if !closed {
			p.problem(start, "the quote that begins here does not end")
			return "", false
		}
		text.WriteString(before)
		rest = after
		if !strings.HasPrefix(rest, sign) {
			break
		}
		text.WriteString(sign)
		rest = rest[1:]
	}
	p.at = len(p.text) - len(rest)
	p.blanks()
	return text.String(), true
}

// isConstant reports whether a text is a number, true or false in JSON.
func isConstant(text jsontext.Value) bool {
	switch text.Kind() {
	case '0', 't', 'f':
		return text.IsValid()
	default:
		return false
	}
}

// quoteConstant writes a text as a constant.
func quoteConstant(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// quoteText returns a text as JSON that escapes no more than JSON demands.
func quoteText(text string) jsontext.Value {
	b, _ := jsontext.AppendQuote(make([]byte, 0, len(text)+2), text) // fails for broken UTF-8 alone
	return b
}
