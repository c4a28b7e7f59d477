%% What host/bench/between measures between two hosts, in the same way, between two nodes of BEAM,
%% Erlang's virtual machine. The first node waits, and the second one measures:
%%
%%     erl -noshell -name other@127.0.0.1 -run nodes wait
%%     erl -noshell -name node@127.0.0.1 -run nodes main other@127.0.0.1 32 1 400 2000
%%
%% The arguments are the other node, the bytes of a message, the number of pairs of processes, and
%% the milliseconds of warm-up and of measurement. A message is {Pid, Bytes}. The nodes go on until
%% they are ended.
-module(nodes).
-export([wait/0, main/1, echo/0]).

%% In milliseconds, more than everything here takes. It is over only if something is wrong.
-define(PATIENCE, 120000).

wait() ->
    end_in_time(),
    io:format("ready~n").

main([Name | Numbers]) ->
    end_in_time(),
    Other = list_to_atom(Name),
    [Bytes, Pairs, WarmUp, Measured] = [list_to_integer(Number) || Number <- Numbers],
    true = net_kernel:connect_node(Other),
    io:format("ready~n"),
    Root = self(),
    Ball = binary:copy(<<0>>, Bytes),
    Start = fun() -> spawn_link(fun() -> Root ! {self(), pinger(Other, Ball, WarmUp, Measured)} end) end,
    Pingers = [Start() || _ <- lists:seq(1, Pairs)],
    report([receive {Pinger, Report} -> Report end || Pinger <- Pingers]).

end_in_time() ->
    spawn(fun() -> receive after ?PATIENCE -> halt(1) end end).

%% If the other node is lost, the links end all processes of this one.
pinger(Other, Ball, WarmUp, Measured) ->
    Echo = spawn_link(Other, ?MODULE, echo, []),
    {WarmedUp, _} = bounce(Echo, Ball, now_ns() + WarmUp * 1000000, 0, []),
    {Count, Times} = bounce(Echo, Ball, now_ns() + Measured * 1000000, 0, []),
    {WarmedUp + Count, Times}.

%% Round trips until the time is over, but at least one: how many, and the nanoseconds of each.
bounce(Echo, Ball, End, Count, Times) ->
    bounce(Echo, Ball, now_ns(), End, Count, Times).

bounce(Echo, Ball, Start, End, Count, Times) ->
    Echo ! {self(), Ball},
    receive {Echo, Back} -> ok end,
    case now_ns() of
        Now when Now < End -> bounce(Echo, Back, Now, End, Count + 1, [Now - Start | Times]);
        Now -> {Count + 1, [Now - Start | Times]}
    end.

echo() ->
    receive {From, Ball} -> From ! {self(), Ball} end,
    echo().

now_ns() -> erlang:monotonic_time(nanosecond).

%% Each pair has as many round trips in a second as its times say. The total includes the warm-up.
report(Reports) ->
    PerSecond = [length(Times) * 1.0e9 / lists:sum(Times) || {_, Times} <- Reports],
    Sorted = lists:sort(lists:append([Times || {_, Times} <- Reports])),
    Percentile = fun(Percent) -> lists:nth((length(Sorted) * Percent + 99) div 100, Sorted) end,
    Total = lists:sum([Count || {Count, _} <- Reports]),
    io:format("{\"p50_ns\":~b,\"p99_ns\":~b,\"per_second\":~b,\"round_trips\":~b}~n",
              [Percentile(50), Percentile(99), round(lists:sum(PerSecond)), Total]).
