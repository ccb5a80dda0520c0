// Live updates. Every page works without this file.
// Relative times count on, a dot says whether the stream is open, and new activity waits behind a
// button, so that nothing moves under the reader. Other pages replace the parts that changed.
const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

function ago(seconds) {
  const past = Math.abs(seconds);
  const [size, unit] = units.find(([size]) => past >= size) ?? [1, "s"];
  const words = `${Math.floor(past / size)} ${unit}`;
  return seconds < 0 ? `in ${words}` : `${words} ago`;
}

function tick() {
  for (const time of document.querySelectorAll("time[data-rel]")) {
    const seconds = (Date.now() - Date.parse(time.dateTime)) / 1000;
    const due = seconds >= 0 && /^(in|now)/.test(time.textContent);
    time.textContent = due ? "now" : ago(seconds);
  }
}

function say(open) {
  const light = document.getElementById("live");
  light.dataset.live = open ? "on" : "off";
  light.textContent = open ? "Live" : "Not live";
}

function onEntry(data) {
  const fresh = document.getElementById("fresh");
  if (!fresh) return;
  fresh.dataset.count = Number(fresh.dataset.count ?? 0) + data.entries;
  fresh.textContent = fresh.dataset.count === "1" ? "1 new entry" : `${fresh.dataset.count} new entries`;
}

function onPart(data) {
  const part = document.getElementById(data.id);
  if (!part || part.contains(document.activeElement)) return;
  const open = [...part.querySelectorAll("details")].map((details) => details.open);
  part.innerHTML = data.html;
  part.querySelectorAll("details").forEach((details, place) => {
    details.open = open[place] ?? details.open;
  });
}

// A browser opens only six connections to one host, for all of its tabs: so only four of them are
// live at a time, and hidden ones give their place back.
const places = 4;
let stop = null; // ends the stream, if this tab has one

function later(address) {
  say(false);
  setTimeout(() => follow(address), 15000);
}

function take(number, address) {
  if (number === places) return later(address);
  navigator.locks.request(`stream ${number}`, { ifAvailable: true }, (lock) => {
    if (!lock) return void take(number + 1, address);
    return new Promise((free) => listen(address, free));
  });
}

function listen(address, free) {
  const stream = new EventSource(address);
  stop = () => {
    stream.close();
    stop = null;
    free();
  };
  stream.onopen = () => say(true);
  stream.onerror = () => {
    say(false);
    if (stream.readyState !== EventSource.CLOSED) return;
    stop(); // it gives up after a 503: the bot may be restarting, or all places are taken
    later(address);
  };
  stream.addEventListener("entry", (event) => onEntry(JSON.parse(event.data)));
  stream.addEventListener("part", (event) => onPart(JSON.parse(event.data)));
}

function follow(address) {
  if (document.hidden || stop) return;
  if (navigator.locks) take(0, address);
  else listen(address, () => {}); // plain http on another machine has no locks
}

const address = document.body.dataset.stream;
setInterval(tick, 1000);
if (address) {
  follow(address);
  document.addEventListener("visibilitychange", () => (document.hidden ? stop?.() : follow(address)));
}
