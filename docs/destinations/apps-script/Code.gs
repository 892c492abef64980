/**
 * Writes the rows that signup-sheet sends into the spreadsheet that this script belongs to: each event_id once.
 *
 * In the spreadsheet: Extensions > Apps Script, replace what is there by this file, choose the function writeTestRow and Run (Google
 * asks for permission, and a test row appears), then Deploy > New deployment > Web app, execute as: me, who has access: anyone.
 * The URL that ends with /exec is for sink.url, with sink.preset: apps-script. It is a secret: who has it can add rows.
 */

/** The tab with the rows. It is made if there is none. Its first row has the names of the columns. */
const SHEET = 'Signups';

/** The column by which a row that comes again is recognised. */
const ID = 'event_id';

/** How long to wait for other rows that are being written. signup-sheet waits a minute for an answer. */
const LOCK_MS = 30000;

/** More than that does not fit into a cell. */
const CELL_LIMIT = 50000;

/**
 * Takes one row: a JSON object, columns to values. The answer is JSON, always with status 200, since scripts have no other:
 *   {"ok":true}                              the row was written
 *   {"ok":true,"duplicate":true}             it was there already
 *   {"ok":false,"refused":true,"error":"…"}  it can never be written
 *   {"ok":false,"error":"…"}                 it could not be written now
 */
function doPost(e) {
  let row;
  try {
    row = parse(e);
  } catch (problem) {
    return answer({ ok: false, refused: true, error: problem.message });
  }
  const lock = LockService.getScriptLock();
  if (!lock.tryLock(LOCK_MS)) {
    return answer({ ok: false, error: 'busy' });
  }
  try {
    return answer(write(row));
  } catch (problem) {
    return answer({ ok: false, error: 'write: ' + problem.message });
  } finally {
    lock.releaseLock();
  }
}

/** What a browser gets. */
function doGet() {
  return answer({ ok: false, error: 'this is for signup-sheet, which sends rows by POST' });
}

/** To be run by hand, once: it asks for the permissions, and shows what a row looks like. */
function writeTestRow() {
  const row = { timestamp: new Date().toISOString(), email: 'test@example.com', name: 'signup-sheet test row', metadata: { n: 1 } };
  row[ID] = 'signup-sheet-test-' + Utilities.getUuid();
  console.log(doPost({ postData: { contents: JSON.stringify(row) } }).getContent());
}

/** Returns the row's id and its [column, cell] pairs, or throws an Error that says why it can never be written. */
function parse(e) {
  let row;
  try {
    row = JSON.parse(e.postData.contents);
  } catch (problem) {
    throw new Error('the body is not JSON');
  }
  if (row === null || typeof row !== 'object' || Array.isArray(row)) {
    throw new Error('the body is not a JSON object');
  }
  if (typeof row[ID] !== 'string' || row[ID] === '') {
    throw new Error('there is no ' + ID + ', by which to recognise the row when it comes again');
  }
  return {
    id: text(row[ID]).replace(/^'/, ''), // as the cell shows it
    columns: Object.keys(row).map((name) => [name, cell(name, row[name])]),
  };
}

/** Writes the row, unless it is there. To be called with the lock. */
function write(row) {
  const book = SpreadsheetApp.getActiveSpreadsheet();
  const sheet = book.getSheetByName(SHEET) || book.insertSheet(SHEET);
  const header = columnsOf(sheet, row.columns.map(([name]) => name));
  if (isThere(sheet, header.indexOf(ID) + 1, row.id)) {
    return { ok: true, duplicate: true };
  }
  const cells = header.map(() => '');
  row.columns.forEach(([name, value]) => {
    cells[header.indexOf(name)] = value;
  });
  sheet.appendRow(cells);
  SpreadsheetApp.flush(); // before the lock is released: the next one has to see the row
  return { ok: true };
}

/** Returns the names in the first row, after those that were missing have been added on the right. */
function columnsOf(sheet, names) {
  const width = sheet.getLastColumn();
  const header = width === 0 ? [] : sheet.getRange(1, 1, 1, width).getValues()[0].map(String);
  const missing = names.filter((name) => !header.includes(name));
  if (missing.length > 0) {
    const room = sheet.getMaxColumns() - width;
    if (room < missing.length) {
      sheet.insertColumnsAfter(sheet.getMaxColumns(), missing.length - room);
    }
    sheet.getRange(1, width + 1, 1, missing.length).setValues([missing.map(text)]);
    sheet.setFrozenRows(1);
  }
  return header.concat(missing);
}

/** Whether a row has this id. The search runs at Google, over one column: the script never reads the sheet. */
function isThere(sheet, column, id) {
  const rows = sheet.getLastRow() - 1;
  if (rows < 1) {
    return false;
  }
  return sheet.getRange(2, column, rows, 1).createTextFinder(id).matchCase(true).matchEntireCell(true).findAll()
    .some((found) => String(found.getValue()) === id);
}

/** The value as it is to be put into a cell. */
function cell(name, value) {
  if (value === null) {
    return '';
  }
  if (typeof value === 'boolean' || Number.isFinite(value)) {
    return value;
  }
  const words = typeof value === 'object' ? JSON.stringify(value) : String(value);
  if (words.length > CELL_LIMIT) {
    throw new Error('column ' + name + ': longer than the ' + CELL_LIMIT + ' characters of a cell');
  }
  return text(words);
}

/**
 * Words as words, which the sheet takes neither for a formula nor for a number or a date: an apostrophe in front, which it does not
 * show. signup-sheet may have put one there already, in front of what looks like a formula.
 */
function text(words) {
  const neutralised = /^'[\s\p{C}]*[=+\-@\uFE62\uFE63\uFE66\uFE6B\uFF0B\uFF0D\uFF1D\uFF20\t\r\n\0]/u;
  if (words === '' || neutralised.test(words)) {
    return words;
  }
  return "'" + words;
}

function answer(content) {
  return ContentService.createTextOutput(JSON.stringify(content)).setMimeType(ContentService.MimeType.JSON);
}
