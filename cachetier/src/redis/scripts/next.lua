-- Moves the lane on by one bump. Within an era seqs count up from the server's clock at its begin. What another run has left may lack the end
-- of what was told: a seq that counts on from there may be one that others take for applied. So another era begins here; and where such a
-- state is trusted, or runs cannot be told apart, seqs stay above what that run can have told.
local told_apart = stands and trusted == 0 and run > 0 and present > 0
if told_apart and run ~= present then
  -- Whoever was told another, was he told of this server? Else each of his bumps would begin an era.
  local this = this_run()
  told_apart = false
  if this > 0 and run ~= this then
    call('STRLEN', TABLE)
    stands = false
  end
end
if stands then
  before, seq = seq, told_apart and seq + 1 or math.max(seq + 1, now())
  told = struct.pack(SEQ, seq)
end
