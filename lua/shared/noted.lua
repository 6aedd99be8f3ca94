-- noted: writes down what came of all arrivals, and replies.
-- Needs: now int state_key entered last count bump note_counts tat_after turn_serial reply
-- Gives: nothing
if entered > 0 then bump('entered', entered) end
if count.entered or count.restored then redis.call('HSET', state_key, 'last', int(last)) end
if count.admitted then
  redis.call('HSET', state_key, 'tat_us', int(tat_after(count.admitted)), 'turn_serial', int(turn_serial), 'turn_us', int(now))
end
note_counts()
return reply
