%% What examples/pingpong measures, in the same way, by processes of BEAM, Erlang's virtual machine:
%%
%%     erlc roundtrip.erl && erl -noshell -run roundtrip main 51
%%
%% The argument is the number of batches; the median of each figure is printed as a line of JSON.
%% A message is {Pid, Bytes}. BEAM copies binaries of up to 64 bytes, as the host does all; of larger
%% ones it sends a reference, since they can't be changed.
-module(roundtrip).
-export([main/1]).

%% Operations in a batch, as in pingpong.
-define(ROUND_TRIPS, 1000).
-define(SPAWNS, 100).

%% In milliseconds, more than everything here takes. It is over only if something is wrong.
-define(PATIENCE, 120000).

main([Argument]) ->
    spawn(fun() -> receive after ?PATIENCE -> halt(1) end end),
    Batches = list_to_integer(Argument),
    Echo = spawn(fun echo/0),
    [round_trip(Batches, Echo, Bytes) || Bytes <- [8, 1024, 65536]],
    report("spawn, first message", 0, Batches, ?SPAWNS, fun() -> spawns(?SPAWNS) end),
    halt(0).

round_trip(Batches, Echo, Bytes) ->
    Ball = binary:copy(<<0>>, Bytes),
    report("round trip", Bytes, Batches, ?ROUND_TRIPS, fun() -> bounce(?ROUND_TRIPS, Echo, Ball) end).

%% There and back: two messages, each to a process that waits for it.
bounce(0, _, _) -> ok;
bounce(Left, Echo, Ball) ->
    Echo ! {self(), Ball},
    receive {Echo, Back} -> bounce(Left - 1, Echo, Back) end.

echo() ->
    receive {From, Ball} -> From ! {self(), Ball} end,
    echo().

%% From wanting a process to hearing from it.
spawns(0) -> ok;
spawns(Left) ->
    Root = self(),
    Pid = spawn(fun() -> Root ! {self(), <<>>} end),
    receive {Pid, <<>>} -> spawns(Left - 1) end.

%% The median of so many batches, after one that doesn't count.
report(Operation, Bytes, Batches, Operations, Batch) ->
    Batch(),
    Times = lists:sort([time(Batch) || _ <- lists:seq(1, Batches)]),
    Us = lists:nth((Batches + 1) div 2, Times) / 1000 / Operations,
    io:format("{\"operation\":\"~s\",\"bytes\":~b,\"us\":~.4f}~n", [Operation, Bytes, Us]).

%% Nanoseconds.
time(Batch) ->
    Start = erlang:monotonic_time(nanosecond),
    Batch(),
    erlang:monotonic_time(nanosecond) - Start.
