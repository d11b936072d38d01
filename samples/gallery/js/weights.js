// The table of what every file weighs.
const number = new Intl.NumberFormat("en");

export function weights(target, files) {
  const heaviest = Math.max(...files.map((file) => file.bytes));
  const table = document.createElement("table");
  const body = table.createTBody();
  for (const { path, bytes } of files) {
    const row = body.insertRow();
    const name = document.createElement("th");
    name.scope = "row";
    name.textContent = path;
    row.append(name);
    const size = row.insertCell();
    size.className = "bytes";
    size.textContent = `${number.format(bytes)} B`;
    const bar = document.createElement("i");
    bar.style.setProperty("--share", String(bytes / heaviest));
    const cell = row.insertCell();
    cell.className = "bar";
    cell.append(bar);
  }
  const total = document.createElement("p");
  total.className = "status";
  total.textContent = `${files.length} files, ${number.format(files.reduce((sum, file) => sum + file.bytes, 0))} bytes in all.`;
  target.replaceChildren(table, total);
}
