'use strict';

// The page asks for news four times a second. It writes data as text only, never as markup.

const maxRows = 300; // in the document; the CSV has them all
const $ = (id) => document.getElementById(id);
const numbers = new Intl.NumberFormat('en');

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// letter names a column as spreadsheets do: A to Z, then AA.
function letter(column) {
  const rest = Math.floor(column / 26);
  return (rest > 0 ? letter(rest - 1) : '') + String.fromCharCode(65 + column % 26);
}

// Sheet is a table of the newest lines. It follows them as long as it is scrolled to its end; scrolled up, it stands still.
class Sheet {
  constructor(panel) {
    this.panel = panel;
    this.columns = [];
    this.last = 0; // the number of the last line that is shown
    this.total = 0; // of the last that there is
    this.following = true;
    this.end = 0; // where it was scrolled to
    this.fresh = true; // nothing was shown yet
    this.table = element('table', {});
    this.table.setAttribute('role', 'grid');
    this.body = element('tbody', {});
    this.empty = element('p', { className: 'empty', textContent: 'Nothing yet.' });
    panel.append(this.table, this.empty);
    panel.addEventListener('scroll', () => this.look(), { passive: true });
    this.body.addEventListener('focusin', (event) => this.select(event.target.closest('td')));
    this.body.addEventListener('click', (event) => event.target.closest('td')?.focus({ preventScroll: true }));
    this.body.addEventListener('keydown', (event) => this.move(event));
  }

  setColumns(columns) {
    if (columns.length === 0 || columns.join() === this.columns.join()) return;
    this.columns = columns;
    const letters = element('tr', { className: 'letters' }, element('th', {}));
    letters.setAttribute('aria-hidden', 'true');
    const names = element('tr', {}, element('th', { textContent: '1', scope: 'row' }));
    const widths = element('colgroup', {}, element('col', { className: 'w-number' }));
    columns.forEach((name, i) => {
      letters.append(element('th', { textContent: letter(i) }));
      names.append(element('th', { textContent: name, scope: 'col' }));
      widths.append(element('col', { className: 'w-' + name }));
    });
    this.table.replaceChildren(widths, element('thead', {}, letters, names), this.body);
  }

  // wanted is the parameter for the next question: the last line that is here, or nothing while the sheet stands still.
  get wanted() {
    return this.following ? this.last : '';
  }

  // look finds out whether the reader has scrolled away from the end. A resized window is no scrolling.
  look() {
    if (this.panel.hidden) return;
    const { scrollTop, clientHeight, scrollHeight } = this.panel;
    this.following = scrollTop + clientHeight >= scrollHeight - 60 || this.following && scrollTop >= this.end - 60;
  }

  show(lines, total) {
    this.total = total;
    this.empty.hidden = total > 0;
    if (!lines || lines.cells.length === 0) return;
    this.look(); // the event of a scroll comes with the next frame, and these lines were asked for before it
    if (!this.following) return;
    if (lines.first > this.last + 1) this.body.replaceChildren(); // some were missed: the table has no gap
    const rows = document.createDocumentFragment();
    lines.cells.forEach((cells, i) => {
      const number = lines.first + i;
      if (number <= this.last) return;
      const row = element('tr', { className: this.fresh ? '' : 'new' }, element('th', { textContent: numbers.format(number + 1), scope: 'row' }));
      cells.forEach((text) => {
        const cell = element('td', { textContent: text, tabIndex: -1 });
        if (/^-?\d+(\.\d+)?$/.test(text)) cell.className = 'figure';
        row.append(cell);
      });
      rows.append(row);
      this.last = number;
    });
    this.body.append(rows);
    while (this.body.rows.length > maxRows) this.body.rows[0].remove();
    this.fresh = false;
    if (!this.body.querySelector('td[tabindex="0"]')) {
      const first = this.body.rows[0]?.cells[1];
      if (first) first.tabIndex = 0;
    }
    this.toEnd();
  }

  toEnd() {
    this.panel.scrollTop = this.panel.scrollHeight;
    this.end = this.panel.scrollTop;
  }

  select(cell) {
    if (!cell) return;
    this.body.querySelectorAll('td[tabindex="0"]').forEach((other) => { other.tabIndex = -1; });
    cell.tabIndex = 0;
    this.selected = cell;
    this.tell();
  }

  // tell shows the selected cell in the bar above the sheets.
  tell() {
    const cell = this.selected;
    const row = cell?.parentElement;
    setText($('reference'), row ? letter(cell.cellIndex - 1) + row.cells[0].textContent.replaceAll(',', '') : '');
    setText($('content'), cell ? cell.textContent : '');
  }

  move(event) {
    const cell = event.target.closest('td');
    const row = cell?.parentElement;
    if (!row || event.altKey || event.ctrlKey || event.metaKey) return;
    const to = {
      ArrowLeft: () => cell.previousElementSibling,
      ArrowRight: () => cell.nextElementSibling,
      ArrowUp: () => row.previousElementSibling?.cells[cell.cellIndex],
      ArrowDown: () => row.nextElementSibling?.cells[cell.cellIndex],
      Home: () => row.cells[1],
      End: () => row.cells[row.cells.length - 1],
    }[event.key]?.();
    if (!to || to.tagName !== 'TD') return;
    event.preventDefault();
    to.focus({ preventScroll: true });
    to.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  }
}

const sheets = { signups: new Sheet($('sheet-signups')), letters: new Sheet($('sheet-letters')) };
sheets.letters.setColumns(['class', 'reason', 'partition', 'offset', 'dead_lettered', 'value']);
let open = 'signups';

function openSheet(name) {
  open = name;
  for (const [other, sheet] of Object.entries(sheets)) {
    const tab = $('tab-' + other);
    tab.setAttribute('aria-selected', String(other === name));
    tab.tabIndex = other === name ? 0 : -1;
    sheet.panel.hidden = other !== name;
  }
  if (sheets[name].following) sheets[name].toEnd();
  sheets[name].tell();
  showNewest();
}

for (const name of Object.keys(sheets)) {
  $('tab-' + name).addEventListener('click', () => openSheet(name));
  $('tab-' + name).addEventListener('keydown', (event) => {
    if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
    const other = name === 'signups' ? 'letters' : 'signups';
    openSheet(other);
    $('tab-' + other).focus();
  });
}

// showNewest offers the lines that came while the sheet stood still.
function showNewest() {
  const sheet = sheets[open];
  const more = sheet.total - sheet.last;
  $('newest').hidden = sheet.following || more <= 0;
  setText($('newest'), '↓ ' + numbers.format(more) + (more === 1 ? ' new row' : ' new rows'));
}

$('newest').addEventListener('click', () => {
  sheets[open].following = true;
  sheets[open].toEnd();
  $('newest').hidden = true;
});

const stages = new Map([...document.querySelectorAll('.stage')].map((stage) => [stage.dataset.stage, stage]));

function showRoad(rates, mood) {
  for (const [name, stage] of stages) {
    const rate = rates[name];
    setText(stage.querySelector('.rate'), rate === undefined ? '–' : (rate >= 10 || rate === 0 ? numbers.format(Math.round(rate)) : rate.toFixed(1)) + '/s');
    stage.classList.toggle('flowing', rate > 0.05);
  }
  const delivered = stages.get('delivered');
  delivered.classList.toggle('held', mood.hold !== '');
  setText($('gate'), mood.hold);
}

function showCounts(counts) {
  for (const name of ['published', 'rows', 'dead_letters', 'skipped', 'in_flight', 'duplicates']) {
    setText($(name), numbers.format(counts[name]));
  }
  document.querySelectorAll('.extra').forEach((node) => { node.hidden = counts.skipped === 0; });
  $('verdict').dataset.well = counts.adds_up;
  setText($('verdict'), counts.adds_up ? '✓ nothing is missing' : '✗ ' + numbers.format(counts.lost) + ' missing');
  setText($('letter-count'), numbers.format(counts.letter_rows));
}

function showMood(mood) {
  $('mood').dataset.kind = mood.kind;
  setText($('mood-text'), mood.text);
  setText($('mood-detail'), mood.detail);
  setText($('mood-next'), mood.next_ms > 0 ? 'Next try in ' + Math.ceil(mood.next_ms / 1000) + ' s.' : '');
}

function showConsumers(consumers) {
  const list = $('consumers');
  const text = JSON.stringify(consumers);
  if (list.dataset.shown === text) return;
  list.dataset.shown = text;
  list.replaceChildren(...consumers.map((c) => {
    const item = element('li', {}, element('span', { className: 'light' }));
    item.dataset.well = c.well;
    const name = c.address ? element('a', { href: 'http://' + c.address + '/status', target: '_blank', rel: 'noopener', title: 'Its /status, as JSON' }) : element('b', {});
    name.textContent = c.name;
    item.append(name, ' ' + [c.state, c.partitions, 'pid ' + c.pid].filter(Boolean).join(' · '));
    return item;
  }));
}

// Buttons are made once, from what the demo says that there are.
const buttons = new Map();

function showButtons(all) {
  for (const b of all) {
    let button = buttons.get(b.name);
    if (!button) {
      button = element('button', { type: 'button', id: 'button-' + b.name, title: b.hint, textContent: b.label });
      button.addEventListener('click', () => press(b, button));
      buttons.set(b.name, button);
      $('buttons').append(button);
    }
    button.disabled = false;
    if (b.toggle) button.setAttribute('aria-pressed', String(b.on));
  }
}

async function press(b, button) {
  setText($('answer'), '');
  const on = b.toggle ? '?on=' + (button.getAttribute('aria-pressed') !== 'true') : '';
  try {
    const response = await fetch('press/' + encodeURIComponent(b.name) + on, { method: 'POST' });
    if (!response.ok) setText($('answer'), (await response.text()).trim());
  } catch {
    setText($('answer'), 'The demo does not answer.');
  }
}

let run;

function show(state) {
  if (run !== undefined && run !== state.run) {
    location.reload(); // another demo, on the same port
    return;
  }
  run = state.run;
  setText($('kafka'), state.kafka);
  showMood(state.mood);
  showRoad(state.rates, state.mood);
  showCounts(state.counts);
  showConsumers(state.consumers ?? []);
  showButtons(state.buttons ?? []);
  sheets.signups.setColumns(state.columns ?? []);
  sheets.signups.show(state.rows, state.counts.sheet_rows);
  sheets.letters.show(state.letters, state.counts.letter_rows);
  showNewest();
}

function showEnd() {
  showMood({ kind: 'ended', text: 'The demo has ended.', detail: 'Start it again with: make demo', next_ms: 0 });
  showRoad({}, { hold: '' });
  showConsumers([]);
  for (const button of buttons.values()) button.disabled = true;
}

let unanswered = 0;

async function ask() {
  let state;
  try {
    const question = new URLSearchParams({ rows: sheets.signups.wanted, letters: sheets.letters.wanted });
    const response = await fetch('state?' + question, { signal: AbortSignal.timeout(5000) });
    if (response.ok) state = await response.json();
  } catch {
    // Nobody is there, or nobody has the time.
  }
  unanswered = state ? 0 : unanswered + 1;
  setTimeout(ask, unanswered > 1 ? 2000 : 250); // before anything is shown: a mistake there must not stop the page
  if (state) show(state);
  if (unanswered > 1) showEnd();
}

ask();
