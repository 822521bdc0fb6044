// What a page must be, looked at in the page itself; each entry of the answer is one fault.
const faults = [], all = s => [...document.querySelectorAll(s)];
const seen = e => { const r = e.getBoundingClientRect(); return r.width > 0 && r.height > 0 && getComputedStyle(e).visibility !== 'hidden' };
const name = e => e.outerHTML.slice(0, 90);
if (document.scrollingElement.scrollWidth > innerWidth) faults.push('scrolls sideways: ' + document.scrollingElement.scrollWidth);
if (all('h1').length !== 1) faults.push('h1: ' + all('h1').length);
if (all('main').length !== 1) faults.push('main: ' + all('main').length);
if (!document.documentElement.lang || !document.title) faults.push('no language or title');
for (const e of all('input:not([type=hidden]), select, textarea'))
  if (!(e.labels && e.labels.length) && !e.getAttribute('aria-label')) faults.push('no label: ' + name(e));
for (const e of all('button, a[href]')) {
  if (!(e.innerText || e.textContent || '').trim() && !e.getAttribute('aria-label') && !e.querySelector('[role=img]')) faults.push('no name: ' + name(e));
  if (e.matches('button, .btn') && seen(e) && !e.classList.contains('unseen') && e.getBoundingClientRect().height < 24) faults.push('small: ' + name(e));
}
for (const e of all('th')) if (!e.scope) faults.push('th without scope: ' + name(e));
const ids = all('[id]').map(e => e.id);
for (const id of new Set(ids.filter((id, i) => ids.indexOf(id) !== i))) faults.push('id twice: ' + id);
for (const e of all('[aria-labelledby]')) if (!document.getElementById(e.getAttribute('aria-labelledby'))) faults.push('labelled by nothing: ' + name(e));
for (const e of all('a[href^="#"]')) if (e.hash.length > 1 && !document.getElementById(decodeURIComponent(e.hash.slice(1)))) faults.push('link to nothing: ' + name(e));
let level = 0;
for (const e of all('h1, h2, h3, h4')) { const n = +e.tagName[1]; if (level && n > level + 1) faults.push('heading skips: ' + name(e)); level = n; }
if (all('.btn.main').filter(e => seen(e)).length > 1) faults.push('more than one filled button');
return faults;
