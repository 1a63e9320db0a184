// The page of whoever is on duty: what stands where, and what keeps it fresh.

import { draw as drawEvent, heardOfEvent, refreshEvent, startEvents } from "./events.js";
import { Forecast } from "./forecast.js";
import { attempt, every, isLive, listen } from "./live.js";
import { startLogin } from "./login.js";
import { drawTypesAgain, refreshNetwork, refreshTypes, showNetwork } from "./network.js";
import { byId } from "./page.js";
import { PowerChart } from "./power.js";
import { onTheme, startTheme } from "./theme.js";
import { OneVen } from "./ven.js";
import { Vens } from "./vens.js";

startLogin();
const ven = new OneVen();
const vens = new Vens((venId) => attempt(() => ven.open(venId)));
const network = new PowerChart(
  { chart: byId("history-chart"), caption: byId("history-caption"), ranges: byId("history-ranges"), table: byId("history-table") },
  "Power of the network",
);
const forecast = new Forecast();
startEvents();
onTheme(() => {
  forecast.draw();
  network.draw();
  ven.power.draw();
  drawTypesAgain();
});
startTheme();

async function refreshAll() {
  await refreshNetwork();
  await Promise.all([refreshEvent(), refreshTypes(), vens.refresh(), forecast.refresh(), network.show("/api/stats/network/history")]);
}

const asked = attempt(refreshAll);
asked.then(() => {
  listen(
    {
      network: showNetwork,
      status: (transition) => vens.showStatus(transition.venId, transition.status),
      event: (event) => attempt(() => heardOfEvent(event)),
      reset: () => attempt(refreshAll),
    },
    () => attempt(refreshEvent),
  );
  const named = /^#ven=(.+)$/.exec(location.hash);
  if (named) attempt(() => ven.open(decodeURIComponent(named[1])));
});

every(1, drawEvent);
every(5, () => isLive() || refreshNetwork());
every(5, () => isLive() || refreshEvent());
every(10, refreshTypes);
every(10, () => vens.refresh());
every(10, () => ven.refresh());
every(60, () => network.refresh());
every(60, () => ven.power.refresh());
every(120, () => forecast.refresh());
