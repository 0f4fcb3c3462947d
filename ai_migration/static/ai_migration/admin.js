/* Shows moments in the browser's time zone, loads what takes a while to count, and keeps a panel
   up to date: asks for it again every 2 seconds, and stops when its job has ended. Only what
   differs is replaced, so that the keyboard stays where it is. */
"use strict";

(() => {
  const two = (number) => String(number).padStart(2, "0");
  const localize = (root) => {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      const day = [at.getFullYear(), two(at.getMonth() + 1), two(at.getDate())].join("-");
      const minutes = [at.getHours(), at.getMinutes()].map(two).join(":");
      const seconds = `${minutes}:${two(at.getSeconds())}`;
      const shown = { minutes, seconds, days: `${day.slice(5)} ${minutes}` };
      time.textContent = shown[time.dataset.shows] || `${day} ${seconds}`;
      time.title = time.dateTime;
    }
  };
  localize(document);

  for (const place of document.querySelectorAll('[data-load]:not([data-load=""])')) {
    fetch(place.dataset.load, { credentials: "same-origin" }).then(async (answer) => {
      if (answer.redirected || !answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      localize(page);
      place.replaceChildren(...page.body.firstElementChild.childNodes);
    });
  }

  const panel = document.querySelector("[data-live]");
  if (!panel) return;
  const seconds = Number(panel.dataset.every || 2);
  const offline = panel.querySelector("[data-offline]");

  const show = (fresh) => {
    localize(fresh);
    panel.dataset.open = fresh.dataset.open;
    for (const part of fresh.querySelectorAll("[data-part]")) {
      const old = panel.querySelector(`[data-part="${part.dataset.part}"]`);
      if (!old || old.innerHTML === part.innerHTML) continue;
      const kept = old.querySelector("[data-keep]");
      const value = kept && kept.value;
      old.innerHTML = part.innerHTML;
      const again = old.querySelector("[data-keep]");
      if (again && value) again.value = value;
    }
  };

  const refresh = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch(panel.dataset.live, { credentials: "same-origin" });
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = page.querySelector("[data-live]");
        if (answer.redirected || !fresh) {
          offline.hidden = false; // logged out, or not allowed any more
          if (answer.status < 500) return;
        } else {
          offline.hidden = true;
          show(fresh);
        }
      } catch {
        offline.hidden = false;
      }
    }
    plan();
  };

  const plan = () => {
    if (panel.dataset.open === "yes") setTimeout(refresh, seconds * 1000);
  };

  plan();
})();
