-- Tells those whose mailboxes stand behind the ticket in `head` what KEYS[1] holds now, or to look if that is nothing. A channel is a mailbox
-- behind `channels`. Whatever becomes of it, what was done is done: who is not told looks again when the ticket's time is over.
if #head > 17 and string.byte(head) == 245 then
  local message = 'cw\1' .. struct.pack('>I2', #KEYS[1]) .. KEYS[1] .. held
  for at = 18, #head, 16 do
    redis.pcall('PUBLISH', channels .. string.sub(head, at, at + 15), message)
  end
end
return 1
