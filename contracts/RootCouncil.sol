// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

import {CouncilMembers} from "./CouncilMembers.sol";
import {Threshold} from "./Threshold.sol";
import {SEATS, Weights} from "./Weights.sol";
import {IAuthorityRegistry} from "./interfaces/IAuthorityRegistry.sol";
import {ICertificateRegistry} from "./interfaces/ICertificateRegistry.sol";
import {IDeviceRegistry} from "./interfaces/IDeviceRegistry.sol";
import {IRootCouncil} from "./interfaces/IRootCouncil.sol";
import {ITrustDomain} from "./interfaces/ITrustDomain.sol";
import {IWatchdogRegistry} from "./interfaces/IWatchdogRegistry.sol";

/// @title RootCouncil
/// @notice Rounds: what members propose, how they vote, and what is then done.
/// @dev Invariants (those of members and weights are at the head of CouncilMembers):
/// I1. Nothing but an executed round makes the council call another contract, or change itself but for M6's settlement.
/// I2. A round is executed at most once, before its deadline, while its votes suffice, and not before its delay has
///     passed since they last came to.
/// I3. A round makes exactly the calls that its id was made of, all of them or none.
/// I4. Nobody's vote counts twice: a seat stands in at most one of approvals, rejections and struck, the sums are those
///     of these bitmaps, and who took a seat after a round was opened has no vote in it.
/// I5. A signature counts at most once, on one chain, in one council, in one round, up to its deadline: a voter's nonce
///     in a round rises with every vote that counts, a direct one too.
/// I6. What a vote weighs, who may vote and how much has to agree are fixed when the round is opened. Only a removed
///     member's vote goes, and its weight stays in what all weigh.
/// I7. Executed and Rejected are for ever.
/// I8. A round is settled once; only then may its proposer open another of its sort.
/// I9. While a round is being executed nothing else of the council can be called but by the round itself, and of that
///     only what changes members and parameters.
contract RootCouncil is CouncilMembers, EIP712 {
    /// @dev The unsettled rounds that a seat opened; zero for none.
    struct Opened {
        bytes32 decision;
        bytes32 alarm;
    }

    bytes32 internal constant VOTE_TYPE =
        keccak256("Vote(bytes32 round,address voter,uint8 choice,uint8 nonce,uint64 deadline)");

    /// @dev The domain's, which never change.
    IAuthorityRegistry internal immutable _authorities;
    ICertificateRegistry internal immutable _certificates;
    IDeviceRegistry internal immutable _devices;
    IWatchdogRegistry internal immutable _watchdogs;

    mapping(bytes32 id => Round) internal _rounds;
    /// @dev A seat's votes that the round has counted. Thirty-two to a word.
    mapping(bytes32 id => uint8[SEATS]) internal _nonces;
    /// @dev The authority that a Suspension or Lift is about.
    mapping(bytes32 id => bytes32 ca) internal _subjects;
    Opened[SEATS] internal _opened;
    /// @inheritdoc IRootCouncil
    mapping(bytes32 ca => uint64) public coolingUntil;

    /// @dev The round that is being executed; zero for none. For the length of a transaction.
    bytes32 internal transient _executing;

    /// @dev Nothing of a round may reach what is open to members or everybody.
    modifier notByARound() {
        require(_executing == 0, RootCouncilReentered());
        _;
    }

    /// @param domain_ The domain that the council is for; it may be made governor or guardian later.
    /// @param founders The first members; they take the seats from 0 on.
    /// @param parameters_ The first parameters.
    constructor(ITrustDomain domain_, Founder[] memory founders, Parameters memory parameters_)
        CouncilMembers(domain_, founders, parameters_)
        EIP712("dpki RootCouncil", "1")
    {
        _authorities = domain_.authorities();
        _certificates = domain_.certificates();
        _devices = domain_.devices();
        _watchdogs = domain_.watchdogs();
    }

    // -- members ------------------------------------------------------------------------------------------------------

    /// @inheritdoc IRootCouncil
    function propose(Proposal calldata proposal) external notByARound returns (bytes32 id) {
        require(isMember(msg.sender), RootCouncilUnauthorized(msg.sender));
        uint8 proposer = seatOf(msg.sender);
        bool decision = proposal.kind == Kind.Decision;
        require(!decision || _seats[proposer].role == Role.Root, RootCouncilUnauthorized(msg.sender));
        uint32 delay = decision ? _delayOf(proposal.calls) : 0;
        bytes32 subject = decision ? bytes32(0) : _subjectOf(proposal);
        _checkDeadline(proposal.deadline, delay);
        id = roundIdOf(proposal);
        require(_rounds[id].state == State.Unknown, RootCouncilKnownRound(id));
        Opened storage opened = _opened[proposer];
        bytes32 before = decision ? opened.decision : opened.alarm;
        require(before == 0, RootCouncilOpenRound(before));

        Round memory opening;
        opening.kind = proposal.kind;
        opening.state = State.Open;
        opening.proposer = proposer;
        opening.table = _currentTable;
        opening.delay = delay;
        opening.openedAt = uint48(block.timestamp);
        opening.deadline = uint48(proposal.deadline);
        _rounds[id] = opening;
        if (decision) {
            opened.decision = id;
        } else {
            opened.alarm = id;
            _subjects[id] = subject;
        }
        emit RoundOpened(id, msg.sender, proposal.kind, opening.table, delay, proposal);
    }

    /// @inheritdoc IRootCouncil
    function vote(bytes32 id, Choice choice) external notByARound {
        Round memory current = _counting(id);
        (bool votes, uint8 number) = _voter(current, msg.sender);
        require(votes, RootCouncilNotAVoter(id, msg.sender));
        require(choice != _choiceOf(current, number), RootCouncilNothingChanged(id, msg.sender));
        require(_nonces[id][number] != type(uint8).max, RootCouncilNoncesExhausted(id, msg.sender));

        _count(id, current, number, msg.sender, choice);
        _judge(id, current);
        _rounds[id] = current;
    }

    // -- anyone -------------------------------------------------------------------------------------------------------

    /// @inheritdoc IRootCouncil
    function relay(bytes32 id, Vote[] calldata votes) external notByARound {
        Round memory current = _counting(id);
        _countSigned(id, current, votes);
        _judge(id, current);
        _rounds[id] = current;
    }

    // What is written after the calls is the round's own, and the calls can write it only as I9 says: by design.
    // slither-disable-start reentrancy-no-eth
    /// @inheritdoc IRootCouncil
    function execute(Proposal calldata proposal, Vote[] calldata votes) external notByARound {
        bytes32 id = roundIdOf(proposal);
        Round memory current = _counting(id);
        _countSigned(id, current, votes);
        _judge(id, current);
        State state = _stateOf(id, current);
        require(state == State.Approved, RootCouncilUnexpectedState(id, state));
        uint256 executableFrom = uint256(current.approvedAt) + current.delay;
        require(block.timestamp >= executableFrom, RootCouncilTooEarly(id, executableFrom));

        current.state = State.Executed;
        _rounds[id] = current;
        _close(id, current);
        _executing = id;
        for (uint256 i = 0; i < proposal.calls.length; ++i) {
            _perform(id, i, proposal.calls[i]);
        }
        _executing = 0;
        emit RoundExecuted(id, msg.sender);
        _settle(id);
    }
    // slither-disable-end reentrancy-no-eth

    /// @inheritdoc IRootCouncil
    function settle(bytes32 id) external notByARound {
        Round memory current = _rounds[id];
        State state = _stateOf(id, current);
        require(!current.settled, RootCouncilAlreadySettled(id));
        require(state == State.Rejected || state == State.Expired, RootCouncilUnexpectedState(id, state));
        if (state == State.Rejected && current.kind == Kind.Decision && !_isRejectedByMost(current)) {
            uint256 from = Weights.least(uint256(current.openedAt) + _parameters.attendance, current.deadline);
            require(block.timestamp >= from, RootCouncilTooEarly(id, from));
        }

        _close(id, current);
        _settle(id);
    }

    // -- views --------------------------------------------------------------------------------------------------------

    /// @inheritdoc IRootCouncil
    function round(bytes32 id) external view returns (Round memory current) {
        current = _rounds[id];
        current.state = _stateOf(id, current);
    }

    /// @inheritdoc IRootCouncil
    function stateOf(bytes32 id) external view returns (State) {
        return _stateOf(id, _rounds[id]);
    }

    /// @inheritdoc IRootCouncil
    function voteOf(bytes32 id, address account) external view returns (Choice choice, uint8 nonce) {
        Round memory current = _rounds[id];
        (bool votes, uint8 number) = _voter(current, account);
        // A settled round is not struck: the seat's next member would be taken for the one who voted.
        if (!votes || _seats[number].since > current.openedAt) return (Choice.None, 0);
        return (_choiceOf(current, number), _nonces[id][number]);
    }

    /// @inheritdoc IRootCouncil
    function openRoundsOf(address account) external view returns (bytes32 decision, bytes32 alarm) {
        if (!isMember(account)) return (0, 0);
        Opened memory opened = _opened[seatOf(account)];
        return (opened.decision, opened.alarm);
    }

    /// @inheritdoc IRootCouncil
    function roundIdOf(Proposal calldata proposal) public pure returns (bytes32) {
        return keccak256(abi.encode(proposal));
    }

    /// @inheritdoc IRootCouncil
    function effectOf(address target, bytes calldata data) public view returns (Effect) {
        if (data.length < 4) return Effect.Unknown;
        bytes4 called = bytes4(data);
        if (target == address(_authorities)) {
            if (called == IAuthorityRegistry.register.selector) return Effect.Adds;
        } else if (target == address(_certificates)) {
            if (called == ICertificateRegistry.setOperator.selector) return Effect.Adds;
            if (called == ICertificateRegistry.setMaximumLifetime.selector) return Effect.Adds;
            if (called == ICertificateRegistry.lift.selector) return Effect.Adds;
            if (called == ICertificateRegistry.setRevoker.selector) return _addsUnlessZero(data, 2);
            if (called == ICertificateRegistry.close.selector) return Effect.Removes;
            if (called == ICertificateRegistry.suspend.selector) return Effect.Removes;
            if (called == ICertificateRegistry.retire.selector) return Effect.Removes;
            if (called == ICertificateRegistry.revoke.selector) return Effect.Removes;
            if (called == ICertificateRegistry.revokeBelow.selector) return Effect.Removes;
        } else if (target == address(_devices)) {
            if (called == IDeviceRegistry.setRegistrar.selector) return _addsUnlessZero(data, 1);
        } else if (target == address(_watchdogs)) {
            if (called == IWatchdogRegistry.setWatch.selector) return Effect.Adds;
        } else if (target == address(domain)) {
            if (called == ITrustDomain.acceptGovernor.selector) return Effect.Adds;
            if (called == ITrustDomain.offerGovernor.selector) return _addsUnlessZero(data, 0);
            if (called == ITrustDomain.setGuardian.selector) return _addsUnlessZero(data, 0);
        } else if (target == address(this)) {
            if (called == IRootCouncil.addMember.selector) return Effect.Adds;
            if (called == IRootCouncil.setRole.selector) return Effect.Adds;
            if (called == IRootCouncil.setParameters.selector) return Effect.Adds;
            if (called == IRootCouncil.removeMember.selector) return Effect.Removes;
        }
        return Effect.Unknown;
    }

    // -- internal: what a round may do --------------------------------------------------------------------------------

    /// @dev The wait that a decision's calls ask for. Reverts when one of them is not the council's business.
    function _delayOf(Call[] calldata calls) internal view returns (uint32 delay) {
        require(calls.length > 0, RootCouncilNoCalls());
        for (uint256 i = 0; i < calls.length; ++i) {
            Call calldata call = calls[i];
            Effect effect = effectOf(call.target, call.data);
            require(effect != Effect.Unknown, RootCouncilForbiddenCall(i, call.target, bytes4(call.data)));
            if (effect == Effect.Adds) delay = _parameters.delay;
        }
    }

    /// @dev The authority that a Suspension or Lift is about. Reverts unless that is exactly what it calls for.
    function _subjectOf(Proposal calldata proposal) internal view returns (bytes32) {
        require(proposal.calls.length > 0, RootCouncilNoCalls());
        bytes4 wanted = proposal.kind == Kind.Suspension
            ? ICertificateRegistry.suspend.selector
            : ICertificateRegistry.lift.selector;
        for (uint256 i = 0; i < proposal.calls.length; ++i) {
            Call calldata call = proposal.calls[i];
            bytes4 called = bytes4(call.data);
            bool fits = i == 0 && call.target == address(_certificates) && called == wanted;
            require(fits && call.data.length == 4 + 32, RootCouncilForbiddenCall(i, call.target, called));
        }
        return _argument(proposal.calls[0].data, 0);
    }

    function _checkDeadline(uint64 deadline, uint256 delay) internal view {
        uint256 earliest = block.timestamp + delay + 1;
        uint256 latest = block.timestamp + _parameters.longest;
        require(deadline >= earliest && deadline <= latest, RootCouncilInvalidDeadline(deadline, earliest, latest));
    }

    /// @dev Adds, or Removes when the argument at `index` is zero: false, or no account.
    function _addsUnlessZero(bytes calldata data, uint256 index) internal pure returns (Effect) {
        if (data.length < 4 + 32 * (index + 1)) return Effect.Unknown;
        return _argument(data, index) == 0 ? Effect.Removes : Effect.Adds;
    }

    /// @dev The word at `index` among a call's arguments.
    function _argument(bytes calldata data, uint256 index) internal pure returns (bytes32) {
        return bytes32(data[4 + 32 * index:]);
    }

    /// @dev Makes one call of a round.
    function _perform(bytes32 id, uint256 index, Call calldata call) internal {
        (bool done, bytes memory reason) = call.target.call(call.data);
        require(done, RootCouncilCallFailed(id, index, reason));
        if (call.target == address(_certificates) && bytes4(call.data) == ICertificateRegistry.lift.selector) {
            coolingUntil[_argument(call.data, 0)] = uint64(block.timestamp + _parameters.cooling);
        }
    }

    // -- internal: votes ----------------------------------------------------------------------------------------------

    /// @dev The round, which has to be one whose votes count: not executed, not settled, its deadline not come. Those
    /// of a rejected round count too: they decide whose weight moves.
    function _counting(bytes32 id) internal view returns (Round memory current) {
        current = _rounds[id];
        bool counts = (current.state == State.Open || current.state == State.Rejected) && !current.settled
            && block.timestamp < current.deadline;
        require(counts, RootCouncilUnexpectedState(id, _stateOf(id, current)));
    }

    /// @dev Whether `account` may vote, which is when it has sat since before the round was opened, and its seat.
    function _voter(Round memory current, address account) internal view returns (bool votes, uint8 number) {
        if (!isMember(account)) return (false, 0);
        number = seatOf(account);
        votes = _tables[current.table].electorate & ~current.struck & Weights.bit(number) != 0;
    }

    function _choiceOf(Round memory current, uint8 number) internal pure returns (Choice) {
        if (current.approvals & Weights.bit(number) != 0) return Choice.Approve;
        return current.rejections & Weights.bit(number) != 0 ? Choice.Reject : Choice.None;
    }

    /// @dev What a vote of the seat counts in the round.
    function _weightOf(Round memory current, uint8 number) internal view returns (uint32) {
        Table storage frozen = _tables[current.table];
        uint256 word = frozen.weights[number / Weights.SEATS_IN_A_WORD];
        return uint32(Weights.least(Weights.inWord(word, number), frozen.cap));
    }

    /// @dev Counts the signed votes that count, and announces the others.
    function _countSigned(bytes32 id, Round memory current, Vote[] calldata votes) internal {
        for (uint256 i = 0; i < votes.length; ++i) {
            Vote calldata brought = votes[i];
            (bool counts, uint8 number, Skipped reason) = _examine(id, current, brought);
            if (counts) {
                _count(id, current, number, brought.voter, Choice(brought.choice));
            } else {
                emit VoteSkipped(id, brought.voter, reason);
            }
        }
    }

    /// @dev Whether a signed vote counts, of which seat, or why not. Never reverts.
    function _examine(bytes32 id, Round memory current, Vote calldata brought)
        internal
        view
        returns (bool counts, uint8 number, Skipped reason)
    {
        (counts, number) = _voter(current, brought.voter);
        if (!counts) return (false, number, Skipped.NotAVoter);
        if (brought.choice > uint8(type(Choice).max)) return (false, number, Skipped.InvalidChoice);
        if (brought.nonce != _nonces[id][number]) return (false, number, Skipped.WrongNonce);
        if (block.timestamp > brought.deadline) return (false, number, Skipped.Late);
        if (!_isSigned(id, brought)) return (false, number, Skipped.InvalidSignature);
        if (Choice(brought.choice) == _choiceOf(current, number)) return (false, number, Skipped.NothingChanged);
        if (brought.nonce == type(uint8).max) return (false, number, Skipped.NoncesExhausted);
    }

    function _isSigned(bytes32 id, Vote calldata brought) internal view returns (bool) {
        bytes32 content = keccak256(
            abi.encode(VOTE_TYPE, id, brought.voter, brought.choice, brought.nonce, brought.deadline)
        );
        (address signer, ECDSA.RecoverError problem,) =
            ECDSA.tryRecoverCalldata(_hashTypedDataV4(content), brought.signature);
        return problem == ECDSA.RecoverError.NoError && signer == brought.voter;
    }

    /// @dev Replaces what the seat voted by `choice`, and uses up a nonce.
    function _count(bytes32 id, Round memory current, uint8 number, address voter, Choice choice) internal {
        uint32 weight = _weightOf(current, number);
        _takeOut(current, number, weight);
        if (choice == Choice.Approve) {
            current.approvals |= Weights.bit(number);
            current.approvalWeight += weight;
            ++current.approvalHeads;
        } else if (choice == Choice.Reject) {
            current.rejections |= Weights.bit(number);
            current.rejectionWeight += weight;
            ++current.rejectionHeads;
        }
        emit VoteCast(id, voter, choice, _nonces[id][number]++);
    }

    /// @dev Takes out what the seat voted, if anything.
    function _takeOut(Round memory current, uint8 number, uint32 weight) internal pure {
        Choice before = _choiceOf(current, number);
        if (before == Choice.Approve) {
            current.approvals &= ~Weights.bit(number);
            current.approvalWeight -= weight;
            --current.approvalHeads;
        } else if (before == Choice.Reject) {
            current.rejections &= ~Weights.bit(number);
            current.rejectionWeight -= weight;
            --current.rejectionHeads;
        }
    }

    // -- internal: judgement ------------------------------------------------------------------------------------------

    /// @dev Says what changed, after votes did: the round was approved, reopened, or rejected. For the caller to write.
    function _judge(bytes32 id, Round memory current) internal {
        if (current.state != State.Open) return;
        if (_suffice(id, current, current.approvalWeight, current.approvalHeads)) {
            if (current.approvedAt != 0) return;
            current.approvedAt = uint48(block.timestamp);
            emit RoundApproved(id, uint64(block.timestamp) + current.delay);
            return;
        }
        if (current.approvedAt != 0) {
            current.approvedAt = 0;
            emit RoundReopened(id);
        }
        Table storage frozen = _tables[current.table];
        uint256 weight = frozen.total - current.rejectionWeight - current.struckWeight;
        uint256 heads = frozen.heads - current.rejectionHeads - current.struckHeads;
        if (!_suffice(id, current, weight, heads)) {
            current.state = State.Rejected;
            emit RoundRejected(id);
        }
    }

    /// @dev Whether approvals of this weight, by this many heads, suffice.
    function _suffice(bytes32 id, Round memory current, uint256 weight, uint256 heads) internal view returns (bool) {
        Table storage frozen = _tables[current.table];
        uint256 total = frozen.total;
        if (current.kind == Kind.Suspension) {
            return Threshold.suspends(weight, total, block.timestamp < coolingUntil[_subjects[id]]);
        }
        if (current.kind == Kind.Lift) return Threshold.lifts(weight, total);
        if (frozen.rule == Rule.Slide) return Threshold.slide(weight, total, frozen.heads, frozen.faults);
        return Threshold.moreThanTwoThirds(weight, total, heads, frozen.heads);
    }

    /// @dev Where the round stands. Whether votes suffice is asked anew: for a suspension it depends on the time.
    function _stateOf(bytes32 id, Round memory current) internal view returns (State) {
        if (current.state != State.Open) return current.state;
        if (block.timestamp >= current.deadline) return State.Expired;
        return _suffice(id, current, current.approvalWeight, current.approvalHeads) ? State.Approved : State.Open;
    }

    /// @dev Whether rejections alone weigh more than half. More than a third keep a round from being approved, but they
    /// may not take weight from the others for it: round by round they would become the majority.
    function _isRejectedByMost(Round memory current) internal view returns (bool) {
        return 2 * uint256(current.rejectionWeight) > _tables[current.table].total;
    }

    // -- internal: the end of a round ---------------------------------------------------------------------------------

    /// @dev Lets the proposer open another round of this sort.
    function _close(bytes32 id, Round memory ended) internal {
        Opened storage opened = _opened[ended.proposer];
        if (opened.decision == id) {
            opened.decision = 0;
        } else {
            opened.alarm = 0;
        }
    }

    /// @dev Settles a closed round, and moves weights when it was decided.
    function _settle(bytes32 id) internal {
        Round memory ended = _rounds[id];
        State outcome = _stateOf(id, ended);
        bool moves = false;
        Table memory next;
        if (ended.kind == Kind.Decision) {
            uint128 electorate = _tables[ended.table].electorate & ~ended.struck;
            bool attended = block.timestamp >= uint256(ended.openedAt) + _parameters.attendance;
            uint128 absent = attended ? electorate & ~ended.approvals & ~ended.rejections : 0;
            if (outcome == State.Executed) {
                (moves, next) = _moved(ended.approvals, ended.rejections, absent);
            } else if (outcome == State.Rejected && _isRejectedByMost(ended)) {
                (moves, next) = _moved(ended.rejections, ended.approvals, absent);
            }
        }
        _rounds[id].settled = true;
        emit RoundSettled(id, outcome, moves);
        if (moves) _writeMoved(next);
    }

    /// @inheritdoc CouncilMembers
    function _strike(uint8 number, address account) internal override {
        Opened memory own = _opened[number];
        delete _opened[number];
        _end(own.decision);
        _end(own.alarm);
        _strikeFrom(_executing, number, account);
        uint128 electorate = _tables[_currentTable].electorate;
        for (uint256 other = 0; electorate >> other != 0; ++other) {
            if (electorate & Weights.bit(other) == 0) continue;
            Opened memory opened = _opened[other];
            _strikeFrom(opened.decision, number, account);
            _strikeFrom(opened.alarm, number, account);
        }
    }

    /// @dev Ends and settles a removed proposer's round, if there is one. It moves no weights.
    function _end(bytes32 id) internal {
        if (id == 0) return;
        Round memory current = _rounds[id];
        if (current.state == State.Open && block.timestamp < current.deadline) {
            current.state = State.Rejected;
            emit RoundRejected(id);
        }
        current.settled = true;
        _rounds[id] = current;
        emit RoundSettled(id, _stateOf(id, current), false);
    }

    /// @dev Takes a removed member out of a round, if there is one and the member is in it. Its weight stays in what
    /// all weigh.
    function _strikeFrom(bytes32 id, uint8 number, address account) internal {
        if (id == 0) return;
        Round memory current = _rounds[id];
        uint128 bit = Weights.bit(number);
        if (_tables[current.table].electorate & ~current.struck & bit == 0) return;
        uint32 weight = _weightOf(current, number);
        _takeOut(current, number, weight);
        current.struck |= bit;
        current.struckWeight += weight;
        ++current.struckHeads;
        emit VoteStruck(id, account);
        if (block.timestamp < current.deadline) _judge(id, current);
        _rounds[id] = current;
    }
}
