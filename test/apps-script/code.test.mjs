// The script of docs/destinations/apps-script, on stand-ins for Google's objects. They do what Google's do as far as is known, and
// fail where it is not: a cell that is written as a formula, a write without the lock, a lock released before the flush.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import vm from 'node:vm';

const code = readFileSync(new URL('../../docs/destinations/apps-script/Code.gs', import.meta.url), 'utf8');

// Sheet is a grid that takes values as if they were typed in.
class Sheet {
  constructor(google, grid = [], maxColumns = 26) {
    Object.assign(this, { google, grid, maxColumns, frozen: 0 });
  }

  getLastRow() {
    this.google.calls++;
    return this.grid.length;
  }

  getLastColumn() {
    this.google.calls++;
    return this.grid.length === 0 ? 0 : this.grid[0].length; // the header is as wide as the sheet here
  }

  getMaxColumns() {
    return this.maxColumns;
  }

  insertColumnsAfter(after, count) {
    assert.equal(after, this.maxColumns);
    this.google.write();
    this.maxColumns += count;
  }

  setFrozenRows(count) {
    this.frozen = count;
  }

  appendRow(cells) {
    assert.ok(cells.length <= this.maxColumns, 'a row is wider than the sheet');
    this.google.write();
    this.grid.push(Array.from(cells, typed)); // an array of ours, not of the script
  }

  getRange(row, column, rows, columns) {
    assert.ok(row >= 1 && column >= 1 && rows >= 1 && columns >= 1, 'a range begins at 1 and is not empty');
    assert.ok(column + columns - 1 <= this.maxColumns, 'a range is outside of the sheet');
    return new Range(this, row, column, rows, columns);
  }
}

class Range {
  constructor(sheet, row, column, rows, columns) {
    Object.assign(this, { sheet, row, column, rows, columns });
  }

  getValue() {
    this.sheet.google.calls++;
    return this.sheet.grid[this.row - 1][this.column - 1];
  }

  getValues() {
    this.sheet.google.calls++;
    this.sheet.google.read += this.rows * this.columns;
    return this.sheet.grid.slice(this.row - 1, this.row - 1 + this.rows)
      .map((cells) => cells.slice(this.column - 1, this.column - 1 + this.columns));
  }

  setValues(values) {
    this.sheet.google.write();
    assert.equal(values.length, this.rows);
    values.forEach((cells, i) => {
      assert.equal(cells.length, this.columns);
      const row = (this.sheet.grid[this.row - 1 + i] ??= []);
      cells.forEach((value, j) => {
        row[this.column - 1 + j] = typed(value);
      });
    });
    for (const row of this.sheet.grid) {
      while (row.length < this.sheet.grid[0].length) row.push('');
    }
  }

  createTextFinder(wanted) {
    this.sheet.google.calls++;
    const options = { matchCase: false, matchEntireCell: false };
    const finder = {
      matchCase: (yes) => ((options.matchCase = yes), finder),
      matchEntireCell: (yes) => ((options.matchEntireCell = yes), finder),
      findAll: () => {
        const fold = (text) => (options.matchCase ? String(text) : String(text).toLowerCase());
        const found = [];
        for (let i = 0; i < this.rows; i++) {
          const value = fold(this.sheet.grid[this.row - 1 + i][this.column - 1]);
          if (options.matchEntireCell ? value === fold(wanted) : value.includes(fold(wanted))) {
            found.push(new Range(this.sheet, this.row + i, this.column, 1, 1));
          }
        }
        return found;
      },
    };
    return finder;
  }
}

// typed is what a cell holds once a value was typed into it.
function typed(value) {
  assert.ok(['string', 'number', 'boolean'].includes(typeof value), `a cell cannot hold ${value}`);
  if (typeof value !== 'string' || value === '') return value;
  if (value.startsWith("'")) return value.slice(1);
  assert.fail(`"${value}" is not marked as text: the sheet may take it for a formula, a number or a date`);
}

// google makes the stand-ins, with a lock that can be taken by somebody else.
function google(sheets = {}) {
  const world = {
    calls: 0, // to the sheet
    read: 0, // cells
    sheets: {},
    locked: false,
    elsewhere: false,
    waited: [],
    dirty: false,
    broken: '',
    write() {
      world.calls++;
      assert.ok(world.locked, 'written without the lock');
      if (world.broken) throw new Error(world.broken);
      world.dirty = true;
    },
  };
  for (const [name, grid] of Object.entries(sheets)) world.sheets[name] = new Sheet(world, grid);
  const book = {
    getSheetByName: (name) => world.sheets[name] ?? null,
    insertSheet: (name) => (world.write(), (world.sheets[name] = new Sheet(world))),
  };
  const script = vm.createContext({
    SpreadsheetApp: { getActiveSpreadsheet: () => book, flush: () => (world.dirty = false) },
    LockService: {
      getScriptLock: () => ({
        tryLock(milliseconds) {
          world.waited.push(milliseconds);
          return (world.locked = !world.elsewhere);
        },
        releaseLock() {
          assert.ok(world.locked, 'released without having it');
          assert.ok(!world.dirty, 'released before what was written is there for others');
          world.locked = false;
        },
      }),
    },
    ContentService: {
      MimeType: { JSON: 'application/json' },
      createTextOutput: (content) => ({
        setMimeType(type) {
          this.type = type;
          return this;
        },
        getContent: () => content,
      }),
    },
    Utilities: { getUuid: () => '00000000-0000-4000-8000-000000000000' },
    console: { log: (line) => (world.printed = line) },
  });
  vm.runInContext(code, script);
  world.post = (body) => {
    const output = script.doPost({ postData: { contents: typeof body === 'string' ? body : JSON.stringify(body) } });
    assert.equal(output.type, 'application/json');
    assert.ok(!world.locked, 'the lock is kept');
    return JSON.parse(output.getContent());
  };
  world.script = script;
  return world;
}

const signup = (id, more = {}) => ({ event_id: id, email: `${id}@example.com`, age_guess: 34, metadata: { a: [1, 'x'] }, ...more });

test('the first row makes the sheet and its header', () => {
  const g = google();
  assert.deepEqual(g.post(signup('a', { utm_campaign: null })), { ok: true });
  assert.deepEqual(g.sheets.Signups.grid, [
    ['event_id', 'email', 'age_guess', 'metadata', 'utm_campaign'],
    ['a', 'a@example.com', 34, '{"a":[1,"x"]}', ''],
  ]);
  assert.equal(g.sheets.Signups.frozen, 1);
});

test('a row that comes again is not written again', () => {
  const g = google();
  g.post(signup('a'));
  g.post(signup('b'));
  assert.deepEqual(g.post(signup('a', { email: 'other@example.com' })), { ok: true, duplicate: true });
  assert.equal(g.sheets.Signups.grid.length, 3);
});

test('an id is another one if it differs in case or is a part', () => {
  const g = google();
  for (const id of ['abc', 'ABC', 'ab', 'abcd', 'a*', '=1+1', '007', '7']) assert.deepEqual(g.post(signup(id)), { ok: true }, id);
  for (const id of ['abc', 'ABC', 'ab', 'abcd', 'a*', '=1+1', '007', '7']) assert.equal(g.post(signup(id)).duplicate, true, id);
  assert.equal(g.sheets.Signups.grid.length, 9);
});

test('columns may be moved by hand, and new ones come on the right', () => {
  const g = google({ Signups: [['note', 'email', 'event_id'], ['mine', 'old@example.com', 'old']] });
  g.post({ event_id: 'new', plan: 'free', email: 'new@example.com' });
  assert.deepEqual(g.sheets.Signups.grid, [
    ['note', 'email', 'event_id', 'plan'],
    ['mine', 'old@example.com', 'old', ''],
    ['', 'new@example.com', 'new', 'free'],
  ]);
});

test('a sheet that is too narrow grows', () => {
  const g = google({ Signups: [['event_id']] });
  g.sheets.Signups.maxColumns = 1;
  const wide = { event_id: 'a' };
  for (let i = 0; i < 40; i++) wide[`column ${i}`] = i;
  assert.deepEqual(g.post(wide), { ok: true });
  assert.equal(g.sheets.Signups.grid[0].length, 41);
});

test('words stay words, character for character', () => {
  const g = google();
  const words = ['=IMPORTXML("https://evil.example","//a")', '+49 30 1234', '-1', '@here', '\t=1', "'quoted'", "O'Neill", '007',
    '2026-01-02', 'TRUE', '1e5', '＝1', ' =1', 'ü 🌊', ''];
  words.forEach((word, i) => g.post({ event_id: `${i}`, word, [`=column ${i}`]: 1 }));
  assert.deepEqual(g.sheets.Signups.grid.slice(1).map((row) => row[1]), words);
});

test('what signup-sheet has neutralised is not shown with its apostrophe', () => {
  const g = google();
  const words = ['=1+1', '+49', '＠x', '﹦x', ' =1', '\tx', ' \u200b\r\u200bx', '\u200b-', '\0x'];
  words.forEach((word, i) => g.post({ event_id: `${i}`, word: `'${word}` }));
  assert.deepEqual(g.sheets.Signups.grid.slice(1).map((row) => row[1]), words);
});

test('only that is', () => {
  const g = google();
  const words = ["'x", "' x", "'", "''", "'x=", "'\u200bx", "''=1"];
  words.forEach((word, i) => g.post({ event_id: `${i}`, word }));
  assert.deepEqual(g.sheets.Signups.grid.slice(1).map((row) => row[1]), words);
});

test('an id is the same with and without that apostrophe', () => {
  const g = google();
  for (const [id, other] of [["'=1+1", '=1+1'], ['-7', "'-7"]]) {
    assert.deepEqual(g.post(signup(id)), { ok: true });
    for (const again of [id, other]) assert.equal(g.post(signup(again)).duplicate, true, again);
  }
});

test('numbers and truth values stay what they are', () => {
  const g = google();
  g.post('{"event_id":"a","n":1.5,"yes":true,"huge":1e999}');
  assert.deepEqual(g.sheets.Signups.grid[1], ['a', 1.5, true, 'Infinity']);
});

test('what can never be written is refused, and nothing is written', () => {
  for (const [body, why] of [
    ['not json', /not JSON/],
    ['[]', /not a JSON object/],
    ['null', /not a JSON object/],
    ['{"email":"a@example.com"}', /no event_id/],
    ['{"event_id":7}', /no event_id/],
    [signup('a', { bio: 'x'.repeat(50001) }), /column bio/],
  ]) {
    const g = google();
    const said = g.post(body);
    assert.equal(said.ok, false);
    assert.equal(said.refused, true);
    assert.match(said.error, why);
    assert.doesNotMatch(said.error, /example\.com|xxx/, 'a value is repeated');
    assert.equal(g.calls, 0);
  }
});

test('a request without a body is refused', () => {
  const g = google();
  assert.equal(JSON.parse(g.script.doPost({}).getContent()).refused, true);
});

test('while another row is being written, this one is to come again', () => {
  const g = google({ Signups: [['event_id']] });
  g.elsewhere = true;
  assert.deepEqual(g.post(signup('a')), { ok: false, error: 'busy' });
  assert.ok(g.waited[0] >= 10000 && g.waited[0] < 60000, 'the wait must end before signup-sheet gives up');
  assert.equal(g.sheets.Signups.grid.length, 1);
  g.elsewhere = false;
  assert.deepEqual(g.post(signup('a')), { ok: true });
});

test('a sheet that takes nothing is no fault of the row, and the lock is released', () => {
  const g = google({ Signups: [['event_id', 'email', 'age_guess', 'metadata']] });
  g.broken = 'This action would increase the number of cells in the workbook above the limit of 10000000 cells.';
  const said = g.post(signup('a'));
  assert.equal(said.ok, false);
  assert.equal(said.refused, undefined);
  assert.match(said.error, /10000000 cells/);
});

test('a hundred thousand rows cost a row no more than one', () => {
  const cost = (rows) => {
    const g = google({ Signups: [['event_id', 'email', 'age_guess', 'metadata']] });
    for (let i = 0; i < rows; i++) g.sheets.Signups.grid.push([`id-${i}`, '', '', '']);
    assert.deepEqual(g.post(signup('new')), { ok: true });
    assert.equal(g.post(signup(`id-${rows - 1}`)).duplicate, true);
    return [g.calls, g.read];
  };
  assert.deepEqual(cost(100000), cost(1));
});

test('a person sees what it is, and can try it', () => {
  const g = google();
  assert.equal(JSON.parse(g.script.doGet().getContent()).ok, false);
  g.script.writeTestRow();
  assert.equal(g.printed, '{"ok":true}');
  const [header, row] = g.sheets.Signups.grid;
  assert.match(row[header.indexOf('event_id')], /^signup-sheet-test-/);
});
