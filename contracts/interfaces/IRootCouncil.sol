// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ITrustDomain} from "./ITrustDomain.sol";

/// @title IRootCouncil
/// @notice Weighted roots that decide together: the governor, and the guardian, of a trust domain.
/// @dev Members hold seats, numbered 0 to 127. Weights stand in numbered tables that are written once: a round names the
/// table of its opening, so that what is frozen can not change. A round is approved while the votes that stand suffice,
/// until it is executed or its deadline passes: a vote can be withdrawn for as long, and a removed member's is struck.
/// Rejected is for ever.
interface IRootCouncil {
    /// @notice What a member is. It sets its first weight and its weight's bounds; only roots propose decisions.
    enum Role {
        None,
        Ordinary,
        Intermediate,
        Root
    }

    /// @notice What a round is for, and so how much has to agree.
    /// @dev Decision: any calls that `effectOf` knows, by the council's rule. Suspension: one authority, by more than
    /// one third of the weight (by one half at least while it cools after a lift). Lift: one authority, by more than
    /// one half. Suspension and Lift count weight alone, wait for nothing, and any member opens them.
    enum Kind {
        Decision,
        Suspension,
        Lift
    }

    /// @notice Where a round stands.
    enum State {
        Unknown,
        Open,
        Approved,
        Rejected,
        Expired,
        Executed
    }

    /// @notice A member's vote; None is none, or one withdrawn.
    enum Choice {
        None,
        Approve,
        Reject
    }

    /// @notice How much has to agree to a decision.
    /// @dev MoreThanTwoThirds: strictly more than two thirds of the frozen weight and of the heads (below four members:
    /// every head). Slide: (2 * faults + 1) average weights, as the proof of concept published it; see docs/council.md
    /// for when that is safe.
    enum Rule {
        MoreThanTwoThirds,
        Slide
    }

    /// @notice What a call does to what is trusted: Adds waits for the execution delay, Removes does not.
    enum Effect {
        Unknown,
        Adds,
        Removes
    }

    /// @notice Why a relayed vote was skipped.
    enum Skipped {
        NotAVoter,
        WrongNonce,
        Late,
        InvalidSignature,
        NothingChanged,
        NoncesExhausted
    }

    /// @notice One call of a round, on the domain, its registries or the council.
    struct Call {
        address target;
        bytes data;
    }

    /// @notice A round's contents. The round's id is `roundIdOf` them.
    /// @param deadline The first second in which the round is over, decided or not.
    /// @param salt Tells apart rounds that are otherwise the same.
    struct Proposal {
        Kind kind;
        Call[] calls;
        uint64 deadline;
        bytes32 salt;
    }

    /// @notice A vote that its voter signed (EIP-712) and anyone brings.
    /// @param nonce How many votes of this voter this round has counted before.
    /// @param deadline The last second in which the signature may be brought.
    struct Vote {
        address voter;
        Choice choice;
        uint8 nonce;
        uint64 deadline;
        bytes signature;
    }

    /// @notice The weights of a role: 1 <= minimum <= initial <= maximum.
    struct Bounds {
        uint16 initial;
        uint16 minimum;
        uint16 maximum;
    }

    /// @notice What the council can change about itself.
    /// @param ordinary Weights of ordinary members.
    /// @param intermediate Weights of intermediate members.
    /// @param root Weights of roots.
    /// @param gain What a settled round adds for a vote with the outcome.
    /// @param against What it takes for a vote against the outcome; at least twice `gain`.
    /// @param absent What it takes for no vote, when the round stood open for `attendance`; at least `gain`.
    /// @param seniority What it adds, besides `gain`, after `seniorAfter`; at most `gain`.
    /// @param seniorAfter How long a member has to have sat for `seniority`, in seconds.
    /// @param epoch Weights move at most once in this time, in seconds.
    /// @param attendance How long a round has to have stood open before absence counts, in seconds.
    /// @param delay How long an approved round that adds trust waits, in seconds.
    /// @param cooling How long after a lift a suspension needs one half, in seconds.
    /// @param longest The longest that a round may stand open, in seconds.
    /// @param rule How much has to agree to a decision.
    /// @param faults How many faulty members Slide tolerates; zero with MoreThanTwoThirds.
    struct Parameters {
        Bounds ordinary;
        Bounds intermediate;
        Bounds root;
        uint16 gain;
        uint16 against;
        uint16 absent;
        uint16 seniority;
        uint32 seniorAfter;
        uint32 epoch;
        uint32 attendance;
        uint32 delay;
        uint32 cooling;
        uint32 longest;
        Rule rule;
        uint8 faults;
    }

    /// @notice A member's seat; all zero when free.
    struct Seat {
        address account;
        Role role;
        uint64 since;
    }

    /// @notice Everybody's weight between two changes. Written once.
    /// @param weights The weights of the 128 seats, 16 bits each, seat 0 lowest in the first word; zero when free.
    /// @param electorate Bit `n` is set when seat `n` is taken.
    /// @param heads How many seats are taken.
    /// @param cap The most that one member counts in a round (from four members on: just below one third of `total`).
    /// @param total The sum of the weights, each capped.
    struct Table {
        uint256[8] weights;
        uint128 electorate;
        uint8 heads;
        uint16 cap;
        uint32 total;
    }

    /// @notice A round. Bitmaps are of seats.
    /// @param table The table of its opening: what each vote weighs, and who may vote.
    /// @param proposer The seat that opened it.
    /// @param delay How long it waits between approval and execution, in seconds.
    /// @param approvedAt When the votes last came to suffice; zero while they do not.
    /// @param approvals Who approves now.
    /// @param rejections Who rejects now.
    /// @param struck Members of then who were removed since; their weight stays in the denominator.
    struct Round {
        Kind kind;
        State state;
        bool settled;
        uint8 proposer;
        uint32 table;
        uint32 delay;
        uint64 openedAt;
        uint64 deadline;
        uint64 approvedAt;
        uint128 approvals;
        uint128 rejections;
        uint128 struck;
        uint32 approvalWeight;
        uint32 rejectionWeight;
        uint32 struckWeight;
        uint8 approvalHeads;
        uint8 rejectionHeads;
        uint8 struckHeads;
    }

    /// @notice The council was founded for `domain`. Emitted once, before its members and parameters.
    event CouncilFounded(address indexed domain);
    /// @notice `account` took `seat`.
    event MemberAdded(address indexed account, uint8 seat, Role role);
    /// @notice `account` left `seat`; its votes in open rounds are struck.
    event MemberRemoved(address indexed account, uint8 seat);
    /// @notice A member's role changed, and its weight with it.
    event RoleChanged(address indexed account, Role previous, Role current);
    /// @notice The parameters changed.
    event ParametersChanged(Parameters parameters);
    /// @notice A new table of weights stands.
    event WeightsChanged(uint32 indexed table, uint256[8] weights, uint128 electorate, uint16 cap, uint32 total);
    /// @notice A round was opened.
    event RoundOpened(
        bytes32 indexed round, address indexed proposer, Kind indexed kind, uint32 table, uint32 delay, Proposal proposal
    );
    /// @notice A vote was counted; None withdrew the one before.
    event VoteCast(bytes32 indexed round, address indexed voter, Choice choice, uint8 nonce);
    /// @notice A relayed vote was not counted.
    event VoteSkipped(bytes32 indexed round, address indexed voter, Skipped reason);
    /// @notice The votes of a removed member no longer count in an open round.
    event VoteStruck(bytes32 indexed round, address indexed voter);
    /// @notice The votes suffice; the round may be executed from `executableFrom` on.
    event RoundApproved(bytes32 indexed round, uint64 executableFrom);
    /// @notice The votes no longer suffice: one was withdrawn or struck.
    event RoundReopened(bytes32 indexed round);
    /// @notice Approval can no longer be reached.
    event RoundRejected(bytes32 indexed round);
    /// @notice Every call of the round was made.
    event RoundExecuted(bytes32 indexed round, address indexed by);
    /// @notice The round is over; `moved` says whether it moved weights.
    event RoundSettled(bytes32 indexed round, State outcome, bool moved);

    error RootCouncilUnauthorized(address caller);
    error RootCouncilZeroDomain();
    error RootCouncilInvalidMember(address account);
    error RootCouncilAlreadyMember(address account);
    error RootCouncilUnknownMember(address account);
    error RootCouncilInvalidRole(Role role);
    error RootCouncilFull();
    error RootCouncilInvalidParameters();
    /// @notice After this change no decision could ever be reached: no root, or too few members for the rule.
    error RootCouncilUnreachable();
    error RootCouncilNoCalls();
    /// @notice A call that is none of the council's business, or not of this kind of round.
    error RootCouncilForbiddenCall(uint256 index, address target, bytes4 selector);
    error RootCouncilInvalidDeadline(uint64 deadline, uint256 earliest, uint256 latest);
    error RootCouncilKnownRound(bytes32 round);
    /// @notice The proposer has a round of this sort open; it has to end and be settled first.
    error RootCouncilOpenRound(bytes32 round);
    error RootCouncilUnexpectedState(bytes32 round, State state);
    error RootCouncilNotAVoter(bytes32 round, address account);
    error RootCouncilNothingChanged(bytes32 round, address voter);
    error RootCouncilNoncesExhausted(bytes32 round, address voter);
    error RootCouncilTooEarly(bytes32 round, uint256 executableFrom);
    error RootCouncilCallFailed(bytes32 round, uint256 index, bytes reason);
    error RootCouncilReentered();
    error RootCouncilAlreadySettled(bytes32 round);

    // -- members -----------------------------------------------------------------------------------------------------

    /// @notice Opens a round. Decisions: roots. Suspension and Lift: any member. A member has at most one Decision, and
    /// at most one round of the two other kinds, open at a time. Opening is no vote.
    function propose(Proposal calldata proposal) external returns (bytes32 round);

    /// @notice Votes, changes a vote, or withdraws it with None. Contract wallets vote this way.
    function vote(bytes32 round, Choice choice) external;

    // -- anyone ------------------------------------------------------------------------------------------------------

    /// @notice Brings signed votes. One that does not count is skipped, with an event, and the rest goes on.
    function relay(bytes32 round, Vote[] calldata votes) external;

    /// @notice Brings signed votes, if any, and then makes the calls of a round that is approved and has waited. When
    /// one fails, all of it is undone and the round stays as it was. Settles the round.
    function execute(Proposal calldata proposal, Vote[] calldata votes) external;

    /// @notice Settles a rejected or expired round: its proposer may open another one.
    function settle(bytes32 round) external;

    // -- the council itself, by an executed round --------------------------------------------------------------------

    function addMember(address account, Role role) external;
    function removeMember(address account) external;
    function setRole(address account, Role role) external;
    function setParameters(Parameters calldata parameters_) external;

    // -- views -------------------------------------------------------------------------------------------------------

    function domain() external view returns (ITrustDomain);
    function parameters() external view returns (Parameters memory);
    function seat(uint8 number) external view returns (Seat memory);
    /// @notice The seat of `account`; reverts with RootCouncilUnknownMember when it has none.
    function seatOf(address account) external view returns (uint8);
    function isMember(address account) external view returns (bool);
    /// @notice The number of the table that stands now; the first is 1.
    function currentTable() external view returns (uint32);
    function table(uint32 number) external view returns (Table memory);
    /// @notice Where a round stands at this block's time, and the votes that stand.
    function round(bytes32 id) external view returns (Round memory);
    function stateOf(bytes32 id) external view returns (State);
    function voteOf(bytes32 id, address account) external view returns (Choice choice, uint8 nonce);
    /// @notice What the account has open: its Decision, and its Suspension or Lift; zero for none.
    function openRoundsOf(address account) external view returns (bytes32 decision, bytes32 alarm);
    function coolingUntil(bytes32 ca) external view returns (uint64);
    function roundIdOf(Proposal calldata proposal) external view returns (bytes32);
    /// @notice What a call of a Decision would do; Unknown is refused.
    function effectOf(address target, bytes calldata data) external view returns (Effect);
}
