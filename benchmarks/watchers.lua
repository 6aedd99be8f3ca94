-- wrk: each connection fetches the room document, waits, and fetches it again: `pause` ms on average.
-- Arguments: pause path
local pause

function init(args)
  pause = tonumber(args[1])
  wrk.path = args[2]
  math.randomseed(os.time())
end

function delay()
  return math.random(math.floor(pause * 0.8), math.ceil(pause * 1.2))
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('{"requests": %d, "duration_us": %d, "p99_us": %d, "bad": %d}\n', summary.requests,
    summary.duration, latency:percentile(99), errors.connect + errors.read + errors.write + errors.timeout + errors.status))
end
