-- wrk sends what a file lists, in turn, and tells what came of it as one line of JSON.
-- After `--`: method, path, and the file. Each line of the file is one visitor's headers, "Name: value" by tabs.
local requests, at = {}, 0

function init(arguments)
  local method, path, file = unpack(arguments)
  local host = wrk.headers['Host']
  for line in io.lines(file) do
    local headers = {Host = host}
    for name, value in line:gmatch('([^\t:]+): ([^\t]*)') do headers[name] = value end
    requests[#requests + 1] = wrk.format(method, path, headers)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local failed = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"longest_us":%d,"refused":%d,"failed":%d,"late":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    failed.status, failed.connect + failed.read + failed.write, failed.timeout))
end
