-- wrk sends what a file lists, in turn, and tells what came of it as one line of JSON.
-- After `--`: method, path, the file, and ms that each connection waits between two requests, on average.
-- Each line of the file is one visitor's headers, "Name: value" by tabs.
local requests, at = {}, 0

function init(arguments)
  local method, path, file, pause = unpack(arguments)
  local host = wrk.headers['Host']
  for line in io.lines(file) do
    local headers = {Host = host}
    for name, value in line:gmatch('([^\t:]+): ([^\t]*)') do headers[name] = value end
    requests[#requests + 1] = wrk.format(method, path, headers)
  end
  pause = tonumber(pause)
  if pause > 0 then
    math.randomseed(os.time())
    function delay() return math.random(math.floor(pause * 0.8), math.ceil(pause * 1.2)) end
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local failed = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"refused":%d,"failed":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    failed.status, failed.connect + failed.read + failed.write + failed.timeout))
end
