-- Arguments: a file with one request target for each line, the method, and a
-- file with the body or "". Headers come from wrk's own options.
local requests = {}

local function content(name)
  if name == "" then return nil end
  local file = assert(io.open(name, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

function init(args)
  local body = content(args[3])
  for target in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format(args[2], target, nil, body)
  end
  function request()
    return requests[math.random(#requests)]
  end
end

function done(summary)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %f, "errors": %d}\n',
    summary.requests, summary.duration / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
