// The reader of docs/redis.md: who may not pass, as the keys of the denylist say.
import { BlockList, isIP } from "node:net";

export class Unknown extends Error {} // Redis cannot tell now: let nobody new in.

// Times are text of 27 characters, so that comparing text will do.
export const moment = (ago = 0) => new Date(Date.now() - ago).toISOString().replace("Z", "000Z");

// The entry that refuses `known`, or undefined. It has the names of docs/redis.md, and both times of the sign-in.
export async function refusal(redis, known, now = moment(), oldest = moment(10_000)) {
  const ours = "revoker:revoked:";
  const asked = redis.multi().get(`${ours}epoch`).get(`${ours}as-of`);
  asked.hVals(`${ours}session:${known.session_id ?? ""}`).hVals(`${ours}token:${known.token_id ?? ""}`);
  asked.hVals(`${ours}subject:${known.tenant ?? ""}:${known.subject ?? ""}`).hVals(`${ours}wide`);
  const [epoch, asOf, ...found] = await asked.exec().catch((error) => {
    throw new Unknown("nobody can tell now", { cause: error });
  });
  if (!epoch || !asOf || asOf < oldest) throw new Unknown("nobody can tell now");

  const entries = found.flat().map((value) => JSON.parse(value));
  const lifts = new Map(entries.filter((entry) => entry.lift).map((entry) => [entry.lift, entry.at]));
  const matching = entries.filter((entry) => entry.selector && matches(entry, known));
  return (
    matching.find((entry) => !entry.until && known.not_after <= (entry.not_before ?? "~")) ??
    matching.find((entry) => entry.until && now < entry.until && now < (lifts.get(entry.id) ?? "~"))
  );
}

function matches(entry, known) {
  if (entry.keep?.includes(known.session_id) || entry.keep_clients?.includes(known.client_id)) return false;
  return Object.entries(entry.selector).every(([name, wanted]) => equals(name, wanted, known, entry));
}

function equals(name, wanted, known, entry) {
  if (name === "everyone") return true;
  if (name === "established_after") return known.not_before > wanted;
  const mine = known[name === "ip_network" ? "ip" : name];
  if (mine === undefined) return entry.named ?? false;
  if (name === "ip_network") return within(mine, ...wanted.split("/"));
  if (name === "labels") return Object.entries(wanted).every(([label, value]) => mine[label] === value);
  return [wanted].flat().includes(mine);
}

function within(ip, network, bits) {
  const family = (address) => `ipv${isIP(address)}`;
  const list = new BlockList();
  list.addSubnet(network, Number(bits), family(network));
  return family(ip) === family(network) && list.check(ip, family(ip));
}
