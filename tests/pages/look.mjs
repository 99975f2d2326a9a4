// Opens a report in Debian's Chromium: light, dark and as wide as a phone. Prints what was found as JSON: requests that left the page, errors
// of its scripts, violations that axe-core finds, text wider than the window. With a folder, full-page screenshots go there.
//
//   node look.mjs PAGE.html [FOLDER NAME]        modules from $ESPALIER_CACHE/pages (scripts/setup --pages)
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const cache = process.env.ESPALIER_CACHE || path.join(process.env.HOME, ".cache/espalier");
const require = createRequire(path.join(cache, "pages/package.json"));
const { chromium } = require("playwright-core");
const axe = require.resolve("axe-core/axe.min.js");

const [page_file, folder, name] = process.argv.slice(2);
const looks = [
  { look: "light", colorScheme: "light", viewport: { width: 1200, height: 900 } },
  { look: "dark", colorScheme: "dark", viewport: { width: 1200, height: 900 } },
  { look: "phone", colorScheme: "light", viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true },
];

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const url = pathToFileURL(path.resolve(page_file)).href;
const found = [];
for (const { look, ...options } of looks) {
  const context = await browser.newContext({ ...options, bypassCSP: true });
  const page = await context.newPage();
  const result = { look, requests: [], errors: [], violations: [] };
  page.on("request", r => { if (r.url() !== url) result.requests.push(r.url()); });
  page.on("pageerror", e => result.errors.push(String(e)));
  page.on("console", m => { if (m.type() === "error") result.errors.push(m.text()); });
  await page.goto(url);
  result.overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  result.charts = await page.evaluate(() => document.querySelectorAll(".uplot canvas").length);
  result.masks = await page.evaluate(() => document.querySelectorAll(".mask canvas").length);
  if (folder) await page.screenshot({ path: path.join(folder, `${name}-${look}.png`), fullPage: true });
  // By keyboard: a column sorts, a mask opens and closes.
  const title = page.locator("table.sorts th button").nth(1);
  if (await title.count()) {
    await title.focus();
    await page.keyboard.press("Enter");
    result.sorted = await page.locator("table.sorts th[aria-sort=descending]").count();
  }
  const mask = page.locator(".mask").first();
  if (await mask.count()) {
    await mask.focus();
    await page.keyboard.press("Enter");
    result.opened = await page.locator("dialog[open]").count();
    if (folder && look === "light") await page.screenshot({ path: path.join(folder, `${name}-mask.png`) });
    await page.addScriptTag({ path: axe });
    result.violations.push(...(await violations(page)));
    await page.keyboard.press("Escape");
    result.closed = (await page.locator("dialog[open]").count()) === 0 ? 1 : 0;
  }
  if (!(await mask.count())) await page.addScriptTag({ path: axe });
  result.violations.push(...(await violations(page)));
  found.push(result);
  await context.close();
}
await browser.close();
console.log(JSON.stringify(found, null, 1));

async function violations(page) {
  const { violations } = await page.evaluate(() => window.axe.run(document));
  return violations.map(v => `${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map(n => n.html.slice(0, 160)).join(" | ")}`);
}
