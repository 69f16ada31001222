/**
 * Markdown to elements: the part of it that model cards use.
 *
 * Headings, paragraphs, lists, tables, **strong** and `code`. Everything else stays text. Elements are
 * made one by one and filled with textContent, so that no card can put markup into the page.
 */

const BLOCKS = [
  [/^#{1,6} /, heading],
  [/^\|/, table],
  [/^- /, list],
];

/** Return a fragment with one element a block. */
export function render(markdown) {
  const fragment = document.createDocumentFragment();
  for (const block of markdown.trim().split(/\n\s*\n/)) {
    let lines = block.split("\n");
    while (lines[0]?.startsWith("#")) {
      fragment.append(heading([lines[0]]));
      lines = lines.slice(1);
    }
    if (lines.length) {
      const [, make] = BLOCKS.find(([start]) => start.test(lines[0])) ?? [null, paragraph];
      fragment.append(make(lines));
    }
  }
  return fragment;
}

/** The page has its own h1 and h2, so "#" is an h3; there is nothing below h6. */
function heading([line]) {
  const [, marks, text] = line.match(/^(#{1,6})\s*(.*)$/);
  return filled(`h${Math.min(marks.length + 2, 6)}`, text);
}

function paragraph(lines) {
  return filled("p", lines.join(" "));
}

/** An item goes on over the indented lines that follow it. */
function list(lines) {
  const items = [];
  for (const line of lines) {
    if (line.startsWith("- ")) items.push(line.slice(2));
    else items[items.length - 1] += ` ${line.trim()}`;
  }
  const element = document.createElement("ul");
  element.append(...items.map((item) => filled("li", item)));
  return element;
}

function table([header, , ...rows]) {
  const element = document.createElement("table");
  const head = element.createTHead().insertRow();
  for (const text of cells(header)) {
    const cell = filled("th", text);
    cell.scope = "col";
    head.append(cell);
  }
  const body = element.createTBody();
  for (const row of rows) body.insertRow().append(...cells(row).map((text) => filled("td", text)));
  return element;
}

function cells(line) {
  return line.replace(/^\|/, "").replace(/\|\s*$/, "").split("|").map((text) => text.trim());
}

function filled(tag, text) {
  const element = document.createElement(tag);
  for (const piece of text.split(/(\*\*[^*]+\*\*|`[^`]+`)/)) {
    if (piece.startsWith("**") && piece.length > 4) element.append(plain("strong", piece.slice(2, -2)));
    else if (piece.startsWith("`") && piece.length > 2) element.append(plain("code", piece.slice(1, -1)));
    else element.append(piece);
  }
  return element;
}

function plain(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}
