-- waitroom's gate for HAProxy 2.6 or newer: the action lua.waitroom asks it for a room, and hands every "no" on to the
-- visitor. A "yes" is only the variable txn.waitroom_go_on: the rule after the action must refuse without it, because
-- HAProxy goes on with the request where a Lua action fails.

-- The HAProxy socket behind which the instances are, and milliseconds that it may take to answer. HAProxy would ask
-- three times more after that, so the socket's own time-outs must be shorter.
local GATE = "abns@waitroom-gate"
local TIMEOUT_MS = 5000

-- All that the gate is told of a request beside its method and address.
local ASKED_WITH = {
  "accept", "cookie", "purpose", "sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "sec-purpose", "user-agent",
  "x-moz", "x-requested-with", "x-waitroom-pass",
}

-- What a "no" consists of beside its status and body.
local HANDED_ON = { "cache-control", "content-type", "location", "retry-after", "vary" }

-- The headers that the origin gets of a request for a free path. None of them makes it another address or method there.
-- The last two are haproxy.cfg's own.
local KEPT = {
  ["host"] = true, ["accept"] = true, ["accept-encoding"] = true, ["accept-language"] = true,
  ["if-modified-since"] = true, ["if-none-match"] = true, ["user-agent"] = true,
  ["x-forwarded-for"] = true, ["x-forwarded-proto"] = true,
}

-- The values of a header, from HAProxy's tables that count from 0 to one that counts from 1.
local function values(headers, name)
  local found, held = {}, headers[name]
  local index = 0
  while held and held[index] do
    found[#found + 1] = held[index]
    index = index + 1
  end
  return found
end

local function question(txn)
  local brought = txn.http:req_get_headers()
  local headers = {
    ["host"] = { "waitroom" },
    ["user-agent"] = { "" },  -- HAProxy would put its own in place of none
    ["x-forwarded-method"] = { txn.sf:method() },
    ["x-forwarded-uri"] = { txn.sf:pathq() },
  }
  for _, name in ipairs(ASKED_WITH) do
    local sent = values(brought, name)
    if #sent > 0 then headers[name] = sent end
  end
  return headers
end

local function hand_on(txn, answer)
  local reply = txn:reply({ status = answer.status, body = answer.body })
  for _, name in ipairs(HANDED_ON) do
    for _, value in ipairs(values(answer.headers, name)) do reply:add_header(name, value) end
  end
  txn:done(reply)
end

core.register_action("waitroom", { "http-req" }, function(txn, room)
  local answer = core.httpclient():get({
    url = "http://waitroom/forward-auth/" .. room,
    dst = GATE,
    headers = question(txn),
    timeout = TIMEOUT_MS,
  })
  if answer.status == 200 then
    local cookie = values(answer.headers, "set-cookie")[1]
    if cookie then txn:set_var("txn.waitroom_cookie", cookie) end
    txn:set_var("txn.waitroom_go_on", true)
  elseif answer.status == 303 or answer.status == 401 or answer.status == 403 then
    hand_on(txn, answer)
  end
end, 1)

-- For free paths: the request goes on bare, without a question to the gate.
core.register_action("waitroom_free", { "http-req" }, function(txn)
  for name in pairs(txn.http:req_get_headers()) do
    if not KEPT[name] then txn.http:req_del_header(name) end
  end
  txn.http:req_set_uri(txn.sf:pathq())
  txn:set_var("txn.waitroom_go_on", true)
end)
