-- Moves the lane on by one bump. Within an era seqs count up from the server's clock at its begin; where the lane may be another run's
-- (it is trusted, or runs cannot be told apart), they stay above what that one can have told.
if stands then
  before, seq = seq, (trusted == 1 or run == 0) and math.max(seq + 1, now()) or seq + 1
  told = struct.pack(SEQ, seq)
end
