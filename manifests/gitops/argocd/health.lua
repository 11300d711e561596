-- Health of FinetuneJob and SweepRun for Argo CD; the same script serves both kinds.
local function result(status, message)
  return { status = status, message = message }
end

local status = obj.status or {}
if status.observedGeneration == nil or status.observedGeneration ~= obj.metadata.generation then
  return result("Progressing", "Waits for the operator to see this generation.")
end

local holds, ready = {}, nil
for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "Ready" then
    ready = condition
  end
  if condition.status == "True" then
    holds[condition.type] = condition
  end
end

local function say(condition)
  local message = condition.message or ""
  if message == "" then
    return condition.reason
  end
  return condition.reason .. ": " .. message
end

local failure = holds.Failed or holds.Stalled
if failure then
  return result("Degraded", say(failure))
end
if holds.Suspended then
  return result("Suspended", say(holds.Suspended))
end
local promotion = status.promotion or {}
if promotion.state == "AwaitingApproval" then
  return result("Suspended", "Waits for the annotation finetune.dev/approved-by. " .. (promotion.reason or ""))
end
if holds.Ready then
  if promotion.state ~= nil then
    return result("Healthy", say(holds.Ready) .. " Promotion: " .. promotion.state .. ". " .. (promotion.reason or ""))
  end
  return result("Healthy", say(holds.Ready))
end
return result("Progressing", ready and say(ready) or "Waits for the operator.")
