-- wrk's script for serve.py: wrk ... -- BODIES MEAN_DELAY_MS RUN
-- BODIES: one request body a line; # in a body becomes a number that no other request has. Item ids end in the grade that is right.
-- Prints one JSON line: requests by status, wrong answers, latencies in milliseconds.

local made, mean, run, number = {}, 0, "", 0
ok, shed, other, wrong = 0, 0, 0, 0
local headers = { ["content-type"] = "application/json" }
local only

function setup(thread) only = thread end

function init(args)
  mean, run = tonumber(args[2]), args[3]
  math.randomseed(tonumber(run))
  for line in io.lines(args[1]) do
    made[#made + 1] = line:find("#", 1, true) and line or wrk.format("POST", "/v1/judge", headers, line)
  end
end

function request()
  number = number + 1
  local text = made[number % #made + 1]
  if text:sub(1, 1) ~= "{" then return text end
  return wrk.format("POST", "/v1/judge", headers, (text:gsub("#", run .. "." .. number)))
end

function delay() return mean > 0 and -mean * math.log(1 - math.random()) or 0 end -- clients who do not wait for one another

function response(status, _, body)
  if status == 503 then shed = shed + 1 return end
  if status ~= 200 then other = other + 1 return end
  ok = ok + 1
  local found = 0
  for right, given in body:gmatch('"item_id":"[^"]-(L%d)","judge":"[^"]*","grade":"(L%d)"') do
    found = found + 1
    if right ~= given then wrong = wrong + 1 end
  end
  if not body:find('"took_ms"', 1, true) or select(2, body:gsub('"item_id"', "")) ~= found then wrong = wrong + 1 end
end

function done(summary, latency)
  local errors = summary.errors
  local function get(name) return only:get(name) or 0 end
  print(string.format('{"seconds": %f, "ok": %d, "shed": %d, "other": %d, "wrong": %d, "broken": %d, "p50": %f, "p99": %f, "most": %f}',
    summary.duration / 1e6, get("ok"), get("shed"), get("other"), get("wrong"), errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
